"""Worlds in which it is hard to say who is who: families that share a tablet, a call centre with one mailbox for all
who have none, and apps that are installed again and again. Who really did what is known of every message.

The same seed always gives the same people and messages. Times are in ms, and end at `END`; nothing depends on the day.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from quickstart.shop import DAY, MINUTE, MOBILE, SECOND, SERVER, WEBSITE, Sent

END = 20_000 * DAY


@dataclass
class Gadget:
    """A browser (system: None) or an app on a phone or tablet, with the ids that it sends."""

    dice: random.Random
    system: str | None
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.install()

    def install(self) -> None:
        """All of its ids are new."""
        self.ids = {name: _random_id(self.dice) for name in ("anonymous", "id", "token")}

    def reset(self) -> None:
        """Somebody signs out: the anonymous id is a new one."""
        self.ids["anonymous"] = _random_id(self.dice)

    def message(self, **fields: Any) -> dict[str, Any]:
        device = {"device": {"id": self.ids["id"], "token": self.ids["token"], "type": self.system}}
        context = device if self.system else {"userAgent": "Mozilla/5.0"}
        return {"anonymousId": self.ids["anonymous"], "context": context, **fields}


class World:
    """Messages of people, in the order of their times. size: how many people there are about."""

    days = 30

    def __init__(self, seed: int, size: int) -> None:
        self.dice = random.Random(f"{seed} {type(self).__name__}")
        self.size = size
        self._sent: list[Sent] = []

    def sent(self) -> list[Sent]:
        """Every message once."""
        self._sent = []
        self.happen()
        return sorted(self._sent, key=lambda one: (one.at, one.message_id))

    def happen(self) -> None:
        raise NotImplementedError

    def moments(self, many: int) -> Iterator[int]:
        """So many times within the days, the oldest first."""
        return iter(sorted(END - self.dice.randrange(MINUTE, self.days * DAY) for _ in range(many)))

    def tell(self, person: int, at: int, source: str, message: dict[str, Any]) -> None:
        self._sent.append(Sent(source, person, _random_id(self.dice), at, message))

    def visit(self, person: int, at: int, gadget: Gadget, *, signs_in: float) -> bool:
        """They look around, sign in by chance, and look around; whether they signed in."""
        source, user = MOBILE if gadget.system else WEBSITE, f"u{person}"
        times = count(at, self.dice.randrange(2 * SECOND, 60 * SECOND))
        view = {"type": "track", "event": "Product Viewed"}
        for _ in range(self.dice.randrange(1, 4)):
            self.tell(person, next(times), source, gadget.message(**view))
        if self.dice.random() >= signs_in:
            return False
        traits = {"email": f"{user}@example.com"}
        self.tell(person, next(times), source, gadget.message(type="identify", userId=user, traits=traits))
        for _ in range(self.dice.randrange(1, 5)):
            self.tell(person, next(times), source, gadget.message(**view, userId=user))
        return True


class SharedTablets(World):
    """Families of two to five: everybody has a phone, and all of a family use one tablet, on which they sign out."""

    def happen(self) -> None:
        people = count()
        while (first := next(people)) < self.size:
            family = [first, *(next(people) for _ in range(self.dice.randrange(1, 5)))]
            phones = {person: Gadget(self.dice, self.dice.choice(("ios", "android"))) for person in family}
            tablet = Gadget(self.dice, "android")
            for at in self.moments(12 * len(family)):
                person = self.dice.choice(family)
                if self.dice.random() < 0.5:
                    self.visit(person, at, phones[person], signs_in=0.7)
                elif self.visit(person, at, tablet, signs_in=0.6):
                    tablet.reset()


class CallCentre(World):
    """Customers with a browser each, of whom some call: whoever takes the call enters one of three mailboxes for those
    without an address, and the number of the customer when they know it."""

    def happen(self) -> None:
        for person in range(self.size):
            browser = Gadget(self.dice, None)
            has_address = self.dice.random() < 0.5
            for at in self.moments(self.dice.randrange(4, 10)):
                self.visit(person, at, browser, signs_in=0.6)
            for at in self.moments(self.dice.randrange(0, 4)):
                call = Gadget(self.dice, None)
                who = {"userId": f"u{person}"} if self.dice.random() < 0.5 else {}
                email = f"u{person}@example.com" if has_address else f"team{self.dice.randrange(3)}@callcentre.example"
                entered = call.message(type="identify", traits={"email": email}, **who)
                self.tell(person, at, SERVER, entered)
                ordered = {"type": "track", "event": "Order Completed", "properties": {"email": email}}
                self.tell(person, at + MINUTE, SERVER, call.message(**ordered, **who))


class Reinstalls(World):
    """A year of people with an app; two in five install it anew every few weeks, and it has new ids each time."""

    days = 360

    def happen(self) -> None:
        for person in range(self.size):
            phone = Gadget(self.dice, self.dice.choice(("ios", "android")))
            visits = 40
            often = self.dice.random() < 0.4
            chance = self.dice.uniform(6, 14) / visits if often else self.dice.uniform(0, 2) / visits
            for at in self.moments(visits):
                if self.dice.random() < chance:
                    phone.install()
                self.visit(person, at, phone, signs_in=0.6)


def _random_id(dice: random.Random) -> str:
    return f"{dice.getrandbits(96):024x}"
