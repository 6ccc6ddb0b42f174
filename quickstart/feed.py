"""What a run feeds to the console, and the truth about it: the generated shop, or a file of one's own."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from quickstart import sending
from quickstart.eventfile import EventFile, event_times, fault, is_somebodys
from quickstart.sending import Delivery, Progress
from quickstart.shop import ORDERED, SIGNED_UP, Sent, Shop
from quickstart.truth import Happened, Truth, but_not, performed

SEED = 20_200_415
CLOCK_SLACK = 15_000  # ms. A request that takes longer than 5 s moves its messages, and the library waits no longer
WINDOW_DAYS = 7

Definition = dict[str, Any]


class FeedError(Exception):
    """The data cannot be used; the message is for the user."""


@dataclass(frozen=True)
class Origin:
    """A source to be made."""

    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """An audience to be made. truth: None when the data alone cannot tell who belongs to it."""

    name: str
    definition: Definition
    truth: Truth | None


class Dated(NamedTuple):
    """A distinct good message. Its event time lies between these two (ms, both included)."""

    origin: str
    message_id: str
    earliest: int
    latest: int


class Feed(Protocol):
    """One run's data."""

    suffix: str  # of the names of the spaces, so that two kinds of data never share one
    origins: list[Origin]
    total: int  # messages that will be sent, doubles included

    def send(self, address: str, keys: Mapping[str, str], progress: Progress) -> Delivery:
        """keys: write key by the source's name."""

    def message(self, message_id: str, at: int) -> Mapping[str, Any] | None:
        """The message as sent, None when no good one has this id. at: its event time, as the console knows it."""

    def dated(self) -> Iterator[Dated]:
        """Every distinct good message that somebody did."""

    def person(self, message_id: str) -> int | None:
        """Who really did it, where that is known."""

    def audiences(self) -> list[Wanted]: ...

    def notes(self) -> list[str]:
        """What the user should know about the data."""


def within(event: str, at_least: int = 1) -> Definition:
    return {"kind": "event", "name": event, "atLeast": at_least, "within": {"days": WINDOW_DAYS}}


# the shop


class ShopFeed:
    """The shop's messages. Its anchor stays in the folder, so that every run there sends the same messages."""

    suffix = ""

    def __init__(self, home: Path):
        self._memory = Memory(home)
        kept = self._memory.recall("shop") or {"seed": SEED, "anchor": _now()}
        self.shop = Shop(kept["seed"], kept["anchor"])
        # With another shop's messages in the same sources nothing could be compared.
        if kept.setdefault("digest", self.shop.digest) != self.shop.digest:
            raise FeedError(f"{home} holds data of another version of the shop: choose another PERSONAS_HOME")
        self._memory.keep("shop", kept)
        self.origins = [Origin("Website", "website"), Origin("Mobile app", "mobile"), Origin("Server", "server")]
        self.total = len(self.shop.sent)

    def send(self, address: str, keys: Mapping[str, str], progress: Progress) -> Delivery:
        by_kind = {origin.kind: keys[origin.name] for origin in self.origins}
        return sending.send_shop(address, by_kind, self.shop.sent, progress)

    def message(self, message_id: str, at: int) -> Mapping[str, Any] | None:
        sent = self._by_id.get(message_id)
        return sent.message if sent else None

    def dated(self) -> Iterator[Dated]:
        names = {origin.kind: origin.name for origin in self.origins}
        for sent in self.shop.distinct:
            yield Dated(names[sent.source], sent.message_id, sent.at, sent.at + CLOCK_SLACK)

    def person(self, message_id: str) -> int | None:
        sent = self._by_id.get(message_id)
        return sent.person if sent else None

    def audiences(self) -> list[Wanted]:
        happened = [
            Happened(sent.message["userId"], sent.message["event"], sent.at, sent.at + CLOCK_SLACK)
            for sent in self.shop.distinct
            if sent.message.get("event") in (SIGNED_UP, ORDERED)
        ]
        signed_up, ordered = (performed(happened, event, days=WINDOW_DAYS) for event in (SIGNED_UP, ORDERED))
        new, not_ordered = within(SIGNED_UP), {"not": within(ORDERED)}
        return [
            Wanted("Signed up in the last 7 days", new, signed_up),
            Wanted("Signed up, no order in 7 days", {"all": [new, not_ordered]}, but_not(signed_up, ordered)),
        ]

    def notes(self) -> list[str]:
        people = len({sent.person for sent in self.shop.distinct})
        devices = {id(device): device for person in self.shop.people for device in person.devices}.values()
        shared = sum(len(device.owners) > 1 for device in devices) / len(devices)
        return [
            f"{people:,} people on {len(devices):,} devices, {shared:.1%} of them shared, "
            f"did {len(self.shop.distinct):,} things in 30 days"
        ]

    @cached_property
    def _by_id(self) -> dict[str, Sent]:
        return {sent.message_id: sent for sent in self.shop.distinct}


# a file


class FileFeed:
    """The messages of a file. When the server first received them stays in the folder."""

    def __init__(self, home: Path, path: Path):
        self._memory = Memory(home)
        self.file = EventFile(path)
        self._name = f"{path.name.split('.')[0][:40]} {self.file.digest[:6]}"
        self.suffix = f" of {self._name}"
        self.origins = [Origin(self._name, "http", {"correctClocks": False})]
        self.total = len(self.file.sent())

    def send(self, address: str, keys: Mapping[str, str], progress: Progress) -> Delivery:
        # Kept before the first message goes: a run that dies while sending has been received in part.
        kept = self._memory.recall(self._name) or {"from": _now() - 1_000}
        self._memory.keep(self._name, kept)
        (key,) = keys.values()
        delivery = sending.send_file(address, key, self.file.sent(), progress)
        delivery.refused = [(message, why) for message, why in delivery.refused if fault(message) is None]
        kept.setdefault("to", _now() + 1_000)  # of the first run: doubles of a later one keep their first receipt
        self._memory.keep(self._name, kept)
        return delivery

    def message(self, message_id: str, at: int) -> Mapping[str, Any] | None:
        return self.file.message(message_id, at)

    def dated(self) -> Iterator[Dated]:
        for message in filter(is_somebodys, self.file.messages):
            yield Dated(self._name, str(message["messageId"]), *event_times(message, self._received))

    def person(self, message_id: str) -> int | None:
        return None

    def audiences(self) -> list[Wanted]:
        """One: the most frequent track event, at least twice in seven days. Without any track event nobody is in it."""
        event = self.file.favourite or ORDERED
        happened = self.file.happened(received=self._received)
        truth = None if happened is None else performed(happened, event, days=WINDOW_DAYS, at_least=2)
        return [Wanted(f"{event[:40]} twice in the last 7 days", within(event, 2), truth)]

    def notes(self) -> list[str]:
        faulty = self.file.faulty
        lines = [f"{len(self.file.lines):,} lines, {len(self.file.messages):,} distinct good messages"]
        lines += [f"line {line.number}: {line.fault}" for line in faulty[:10]]
        if len(faulty) > 10:
            lines.append(f"… and {len(faulty) - 10:,} more bad lines")
        if nobodys := sum(not is_somebodys(message) for message in self.file.messages):
            lines.append(f"{nobodys:,} messages identify nobody, or stay out of spaces: they are archived alone")
        if self.file.favourite is None:
            lines.append("no track event at all: the audience will be empty")
        return lines

    @property
    def _received(self) -> tuple[int, int]:
        """The moments (ms) between which the server first received the file."""
        kept = self._memory.recall(self._name) or {}
        return kept.get("from", 0), kept.get("to", 0)


class Memory:
    """What runs in the same folder must agree on, in $PERSONAS_HOME/quickstart-data.json."""

    def __init__(self, home: Path):
        self._path = home / "quickstart-data.json"

    def recall(self, name: str) -> dict[str, Any] | None:
        return self._all().get(name)

    def keep(self, name: str, value: dict[str, Any]) -> None:
        draft = self._path.with_suffix(".new")  # whole or not at all: it is read by the next run
        draft.write_text(json.dumps(self._all() | {name: value}, indent=1))
        draft.replace(self._path)

    def _all(self) -> dict[str, Any]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}


def _now() -> int:
    return int(time.time() * 1000)
