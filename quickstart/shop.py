"""A generated online shop: who visited it in the last 30 days, what they did, and the messages that tell of it.

The same seed always gives the same people and messages; the anchor only moves their times. Visitors come anonymously
and may sign in later; people own several devices, some devices are shared by two people, and some people clear their
cookies so often that they have more anonymous ids than a profile may hold. Messages arrive late, doubled and out of
order.
"""

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from typing import Any, NamedTuple

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000  # all times here are in ms
SPAN = 30 * DAY
SPARE = 2 * HOUR  # the oldest message is this much younger than 30 days: time to send it and to connect the sources
# The story always ends on this Sunday evening and is then moved to its anchor: drawn around the anchor itself, nights
# and week-ends would fall elsewhere in it, and every hour would have people and events of its own.
STORY_END = 20_000 * DAY + 3 * DAY + 22 * HOUR

WEBSITE, MOBILE, SERVER = "website", "mobile", "server"
SIGNED_UP, ORDERED = "User Signed Up", "Order Completed"

# How busy each hour of a day (UTC) and each day of a week (from Monday) is.
HOURS = (2, 1, 1, 1, 1, 2, 4, 7, 9, 9, 8, 8, 10, 9, 8, 8, 9, 11, 13, 15, 16, 14, 9, 5)
WEEKDAYS = (10, 10, 10, 11, 12, 15, 14)

NAMES = ("Ada", "Ben", "Chen", "Dora", "Emre", "Fatou", "Goran", "Hana", "Ivan", "Jane", "Kofi", "Lena", "Mia", "Noor")
FAMILIES = ("Adler", "Bose", "Costa", "Diaz", "Eriksen", "Fofana", "Greco", "Haas", "Ito", "Jansen", "Kaya", "Lopez")
PLANS, CITIES = ("free", "plus", "pro"), ("Berlin", "Lagos", "Lima", "Osaka", "Porto", "Utrecht")
CATEGORIES = ("Shoes", "Lamps", "Books", "Bikes", "Tea", "Plants")
INDUSTRIES = ("Logistics", "Design", "Health", "Retail")


class Sent(NamedTuple):
    """One copy of a message. person: who really did it. message: Segment-shaped, its id and time kept apart."""

    source: str
    person: int
    message_id: str
    at: int
    message: dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How big the shop is. customers: have an account or get one; visitors: never sign in."""

    customers: int = 6_000
    visitors: int = 1_200
    messages: int = 205_000


@dataclass
class Device:
    """A browser, or an app on a phone. anonymous_ids: the newest last; most devices only ever have one."""

    source: str
    context: dict[str, Any]
    anonymous_ids: list[str]
    owners: list[int] = field(default_factory=list)
    greeted: set[tuple[str, int]] = field(default_factory=set)  # (anonymous id, person) that signed in here


@dataclass
class Person:
    """user_id: None for a visitor. signs_up_at: as the story tells it; None when the account is older than it."""

    number: int
    user_id: str | None
    traits: dict[str, Any]
    signs_up_at: int | None = None
    group_id: str | None = None
    clears_cookies: bool = False
    devices: list[Device] = field(default_factory=list)
    grouped: bool = False


@dataclass(frozen=True)
class Shop:
    """anchor: when the 30 days end, in ms. Nothing in it happens later, and nothing but the times depends on it."""

    seed: int
    anchor: int
    size: Size = Size()

    @cached_property
    def sent(self) -> list[Sent]:
        """Every copy of every message, in the order in which they are sent."""
        dice = random.Random(f"{self.seed} arrivals")
        arrivals: list[tuple[int, int]] = []
        for place, message in enumerate(self.distinct):
            chance = dice.random()
            if message.source == MOBILE and chance < 0.03:
                delay = dice.randrange(HOUR, 4 * DAY)  # the phone was off-line
            else:
                delay = dice.randrange(10 * MINUTE if chance < 0.1 else 2 * SECOND)
            arrivals.append((message.at + delay, place))
            if dice.random() < 0.015:  # it arrives twice
                arrivals.append((message.at + delay + dice.randrange(1, 6 * HOUR), place))
        return [self.distinct[place] for _, place in sorted(arrivals)]

    @cached_property
    def distinct(self) -> list[Sent]:
        """Every message once."""
        moved = self.anchor - STORY_END  # all by the same, so that another day's run differs in nothing but its times
        return [message._replace(at=message.at + moved) for message in _History(self).told()]

    @cached_property
    def people(self) -> list[Person]:
        """Everyone; what they go through in `distinct` (new cookies, new traits) shows on them afterwards."""
        dice = random.Random(f"{self.seed} people")
        shape = _Shape(dice)
        people = []
        for number in range(self.size.customers):
            name, family = dice.choice(NAMES), dice.choice(FAMILIES)
            company = dice.randrange(80) if dice.random() < 0.12 else None
            email = f"{name}.{family}.{number}@example.com".lower()
            if company is not None and dice.random() < 0.06:
                email = f"team@company{company}.example"  # a mailbox that several people sign up with
            customer = Person(
                number,
                f"u{number:06d}",
                {"email": email, "name": f"{name} {family}", "plan": dice.choice(PLANS), "city": dice.choice(CITIES)},
                signs_up_at=shape.moment() if dice.random() < 0.55 else None,
                group_id=None if company is None else f"company-{company}",
                clears_cookies=dice.random() < 0.1,
            )
            people.append(customer)
        people += [Person(self.size.customers + number, None, {}) for number in range(self.size.visitors)]
        for person in people:
            for _ in range(dice.choices((1, 2, 3), (50, 38, 12))[0] if person.user_id else 1):
                _own(person, _device(dice))
        # One device in fourteen is also used by somebody else, as in a family.
        devices = [device for person in people for device in person.devices]
        for device in dice.sample(devices, len(devices) // 14):
            other = dice.choice(people)
            if other.number not in device.owners:
                _own(other, device)
        return people

    @cached_property
    def digest(self) -> str:
        """Tells whether two shops say the same."""
        seen = blake2b(digest_size=12)
        for sent in self.sent:
            seen.update(f"{sent.source} {sent.message_id} {sent.at}\n".encode())
        return seen.hexdigest()


# who there is


def _own(person: Person, device: Device) -> None:
    person.devices.append(device)
    device.owners.append(person.number)


def _device(dice: random.Random) -> Device:
    anonymous_id = _random_id(dice)
    if dice.random() < 0.62:
        return Device(WEBSITE, {"userAgent": "Mozilla/5.0", "locale": "en-GB"}, [anonymous_id])
    system = dice.choice(("ios", "android"))
    device: dict[str, Any] = {"id": _random_id(dice), "type": system, "token": _random_id(dice)}
    if dice.random() < 0.6:
        device |= {"advertisingId": _random_id(dice), "adTrackingEnabled": True}
    return Device(MOBILE, {"device": device, "app": {"name": "Shop", "version": "4.2"}}, [anonymous_id])


def _random_id(dice: random.Random) -> str:
    return f"{dice.getrandbits(96):024x}"


class _Shape:
    """Draws moments of the 30 days as visitors choose them: evenings and week-ends are busy, nights are not."""

    def __init__(self, dice: random.Random):
        self.dice = dice
        self.first = STORY_END - SPAN + SPARE
        self.last = STORY_END - MINUTE
        hours = range(self.first // HOUR, self.last // HOUR + 1)
        self.hours = [hour * HOUR for hour in hours]
        # 1970-01-01 was a Thursday
        self.sums = list(accumulate(HOURS[hour % 24] * WEEKDAYS[(hour // 24 + 3) % 7] for hour in hours))

    def moment(self) -> int:
        while True:
            hour = self.hours[bisect(self.sums, self.dice.random() * self.sums[-1])]
            at = hour + self.dice.randrange(HOUR)
            if self.first <= at <= self.last:
                return at


# what they did


class _History:
    """Lets the people visit the shop until enough has happened."""

    def __init__(self, shop: Shop):
        self.shop = shop
        self.dice = random.Random(f"{shop.seed} history")
        self.shape = _Shape(self.dice)

    def told(self) -> Iterator[Sent]:
        count = 0
        for message in self._everything():
            if message.at <= STORY_END:
                yield message
                count += 1
            if count == self.shop.size.messages:
                return

    def _everything(self) -> Iterator[Sent]:
        """First everyone's sign-up or first visit, then visits without end, some people coming far more often."""
        people = self.shop.people
        for person in people:
            yield from self._sign_up(person) if person.signs_up_at else self._visit(person)
        keen = list(accumulate(self.dice.paretovariate(1.6) for _ in people))
        while True:
            yield from self._visit(people[bisect(keen, self.dice.random() * keen[-1])])

    def _sign_up(self, person: Person) -> Iterator[Sent]:
        """Looks around, makes an account, and perhaps orders at once."""
        device, at = self.dice.choice(person.devices), person.signs_up_at or 0
        visit = _Visit(self, person, device, max(at - self.dice.randrange(2, 20) * MINUTE, self.shape.first), False)
        yield from visit.looks_around(self.dice.randrange(1, 5))
        visit.at = max(at, visit.at)
        yield from visit.signs_in()
        properties = {"plan": person.traits["plan"], "method": self.dice.choice(("email", "google"))}
        yield visit.tell("track", event=SIGNED_UP, properties=properties)
        if self.dice.random() < 0.3:
            yield from visit.orders()

    def _visit(self, person: Person) -> Iterator[Sent]:
        device, at = self.dice.choice(person.devices), self.shape.moment()
        has_account = person.user_id is not None and at > (person.signs_up_at or 0) + HOUR
        signs_in = has_account and self.dice.random() < 0.8
        if person.clears_cookies and device.source == WEBSITE and self.dice.random() < 0.9:
            device.anonymous_ids.append(_random_id(self.dice))
        visit = _Visit(self, person, device, at, False)
        yield from visit.looks_around(self.dice.randrange(1, 4))
        if signs_in:
            yield from visit.signs_in()
        yield from visit.looks_around(self.dice.randrange(1, 9))
        if signs_in and self.dice.random() < 0.3:
            yield from visit.orders()


@dataclass
class _Visit:
    """One person on one device. Every message is later than the one before."""

    history: _History
    person: Person
    device: Device
    at: int
    signed_in: bool

    def __post_init__(self) -> None:
        self.dice = self.history.dice
        self.anonymous_id = self.device.anonymous_ids[-1]

    def tell(self, type: str, **fields: Any) -> Sent:
        self.at += self.dice.randrange(2 * SECOND, 90 * SECOND)
        message = {"type": type, "anonymousId": self.anonymous_id, "context": self.device.context, **fields}
        if self.signed_in:
            message["userId"] = self.person.user_id
        return self._sent(self.device.source, message)

    def tell_from_server(self, type: str, **fields: Any) -> Sent:
        self.at += self.dice.randrange(300, 3 * SECOND)
        return self._sent(SERVER, {"type": type, "userId": self.person.user_id, **fields})

    def _sent(self, source: str, message: dict[str, Any]) -> Sent:
        return Sent(source, self.person.number, _random_id(self.dice), self.at, message)

    def looks_around(self, steps: int) -> Iterator[Sent]:
        on_web = self.device.source == WEBSITE
        for _ in range(steps):
            category, product = self.dice.choice(CATEGORIES), self.dice.randrange(400)
            if self.dice.random() < 0.45:
                path = {"path": f"/{category.lower()}"} if on_web else {}
                yield self.tell("page" if on_web else "screen", name=category, properties=path)
            else:
                properties = {"productId": f"p{product}", "category": category, "price": 5 + product % 90}
                event = "Product Viewed" if self.dice.random() < 0.8 else "Product Added"
                yield self.tell("track", event=event, properties=properties)

    def signs_in(self) -> Iterator[Sent]:
        """From here on messages carry the user id; the first time on a device, and now and then, all the traits."""
        self.signed_in = True
        here = (self.anonymous_id, self.person.number)
        if here not in self.device.greeted or self.dice.random() < 0.2:
            self.device.greeted.add(here)
            if self.dice.random() < 0.05:  # somebody changes plan now and then
                self.person.traits = self.person.traits | {"plan": self.dice.choice(PLANS)}
            yield self.tell("identify", traits=self.person.traits)
        if self.person.group_id and not self.person.grouped:
            self.person.grouped = True
            number = int(self.person.group_id.rpartition("-")[2])
            company = {"name": f"Company {number}", "industry": INDUSTRIES[number % 4], "employees": 10 + number * 7}
            yield self.tell_from_server("group", groupId=self.person.group_id, traits=company)

    def orders(self) -> Iterator[Sent]:
        number, revenue = self.dice.getrandbits(40), self.dice.randrange(500, 30_000) / 100
        yield self.tell("track", event="Checkout Started", properties={"value": revenue})
        properties = {"orderId": f"o{number:x}", "revenue": revenue, "currency": "EUR"}
        yield self.tell_from_server("track", event=ORDERED, properties=properties)
        self.at += self.dice.randrange(5 * HOUR, 60 * HOUR)
        yield self.tell_from_server("track", event="Order Shipped", properties={"orderId": f"o{number:x}"})
