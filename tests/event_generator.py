"""A crowd from a seed: who shares devices, comes together and comes late, in messages of every kind, without end."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]

SOURCES = ("website", "server")
DEVICES = 7  # of one person: more than a profile may hold
SEEN_AT_ONCE = 20  # people who are about at the same time; new ones come all the while
MESSAGES_EACH = 25
REMEMBERED = 300  # messages that may be sent once more
KINDS = {"Viewed": 40, "Ordered": 8, "page": 12, "identify": 20, "group": 6, "alias": 1, "nobody": 2, "bad": 2}


class Crowd:
    """Each call of `batch` goes on in the story. Message ids are the source's own: two sources have the same."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.numbers = {source: itertools.count(1) for source in SOURCES}
        self.told = 0
        self.before: dict[str, list[Json]] = {source: [] for source in SOURCES}

    def batch(self, now: datetime, *, size: int, spread: timedelta = timedelta()) -> tuple[str, list[Json]]:
        """(source, messages), their times within `spread` before now, some much earlier, some in the future."""
        source = self.dice.choice(SOURCES)
        messages = [self._message(source, now - self.dice.random() * spread) for _ in range(size)]
        self.before[source] = [*self.before[source], *messages][-REMEMBERED:]
        doubled = [each for each in self.before[source] if self.dice.random() < 1 / REMEMBERED]
        return source, [*messages, *doubled]

    def _message(self, source: str, at: datetime) -> Json:
        self.told += 1
        person = self.told // MESSAGES_EACH + self.dice.randrange(SEEN_AT_ONCE)
        kind = self.dice.choices(list(KINDS), list(KINDS.values()))[0]
        common = {"messageId": f"m{next(self.numbers[source])}", **self._time(at)}
        if kind == "bad":
            return common | {"type": "track", "event": "Of nobody at all"}
        if kind == "nobody":
            return common | {"type": "track", "event": "Viewed", "userId": "null"}
        return common | self._who(person, kind) | self._what(person, kind)

    def _time(self, at: datetime) -> Json:
        chance = self.dice.random()
        if chance < 0.05:
            return {}
        late = timedelta(minutes=self.dice.randrange(5_000)) if chance < 0.15 else timedelta()
        early = timedelta(hours=1) if chance > 0.95 else timedelta()
        return {"timestamp": (at - late + early).astimezone(UTC).isoformat(timespec="milliseconds")}

    def _who(self, person: int, kind: str) -> Json:
        chance = self.dice.random()
        shared = self.dice.random() < 0.05
        device = {"anonymousId": f"s{person // 6}" if shared else f"a{person}-{self.dice.randrange(DEVICES)}"}
        user = {"userId": f"u{person}"}
        if kind == "alias":
            return user | {"previousId": f"a{person}-0"}
        return device if chance < 0.35 else user if chance < 0.5 else device | user

    def _what(self, person: int, kind: str) -> Json:
        if kind == "identify":
            plan = {"plan": self.dice.choice(("free", "pro", None))} if self.dice.random() < 0.7 else {}
            team = person % 9 == 0 and self.dice.random() < 0.3
            email = {"email": f"Team{person // 8}@example.com" if team else f"p{person}@example.com"}
            return {"type": kind, "traits": plan | (email if self.dice.random() < 0.6 else {})}
        if kind == "group":
            return {"type": kind, "groupId": f"g{person % 12}", "traits": {"seats": self.dice.randrange(99)}}
        if kind == "page":
            return {"type": kind, "name": "Home", "properties": {"path": "/"}}
        if kind == "alias":
            return {"type": kind}
        event = "Viewed" if kind == "Ordered" and person % 3 == 0 else kind  # a third never orders
        return {"type": "track", "event": event, "properties": {"price": self.dice.randrange(100)}}
