"""What a run found out: every figure with the moment it is of, and every disagreement with who it is about."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from quickstart.truth import Pairs


@dataclass(frozen=True)
class Counts:
    """sent: in this run, doubles included. archived: what the sources hold in all. The others: of those sent."""

    sent: int
    archived: int
    rejected: int
    doubled: int
    as_of: datetime


@dataclass(frozen=True)
class Replayed:
    """The replay that filled a space, as recorded when it ran."""

    events: int
    seconds: float
    as_of: datetime

    @property
    def rate(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Profiles:
    """resolved: by the console. reference: by the naive resolver. pairs: against the people who really did it."""

    resolved: int
    reference: int
    pairs: Pairs | None
    as_of: datetime
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Membership:
    """One audience, seen four ways. Sizes; truth is None when the data cannot tell."""

    id: str
    name: str
    preview: int
    preview_as_of: datetime
    computed: int
    truth: int | None
    delivered: int
    as_of: datetime
    faults: list[str] = field(default_factory=list)


@dataclass
class InSpace:
    """What was found in one space."""

    id: str
    name: str
    replayed: Replayed
    profiles: Profiles
    audiences: list[Membership] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def all_faults(self) -> list[str]:
        faults = [*self.profiles.faults, *self.faults]
        for audience in self.audiences:
            faults += audience.faults
        return [f"{self.name}: {fault}" for fault in faults]


@dataclass
class Run:
    """Everything that the table shows and that quickstart.json keeps."""

    console: str
    login: str
    password: str
    api_token: str
    workspace: str
    sources: dict[str, str]
    write_keys: dict[str, str]
    counts: Counts
    dev: InSpace
    prod: InSpace
    faults: list[str] = field(default_factory=list)

    def all_faults(self) -> list[str]:
        return [*self.faults, *self.dev.all_faults(), *self.prod.all_faults()]

    def to_json(self) -> dict[str, Any]:
        """As written to quickstart.json. The figures are Dev's, and the audience is its first."""
        first = self.dev.audiences[0]  # one of several: a program that reads this wants a number, not a list
        return {
            "console": self.console,
            "login": self.login,
            "password": self.password,
            "api_token": self.api_token,
            "write_keys": self.write_keys,
            "workspace": self.workspace,
            "spaces": {"dev": self.dev.id, "prod": self.prod.id},
            "sources": self.sources,
            "audience": first.id,
            "table": {
                "sent": self.counts.sent,
                "archived": self.counts.archived,
                "rejected": self.counts.rejected,
                "doubled": self.counts.doubled,
                "profiles": self.dev.profiles.resolved,
                "replay": {"events": self.dev.replayed.events, "seconds": round(self.dev.replayed.seconds, 3)},
                "audience": {
                    "preview": first.preview,
                    "computed": first.computed,
                    "truth": first.truth,
                    "delivered": first.delivered,
                },
            },
        }


def moment(text: str) -> datetime:
    """A time as the API writes it."""
    return datetime.fromisoformat(text).astimezone(UTC)


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
