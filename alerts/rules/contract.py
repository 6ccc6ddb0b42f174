"""PURE. What a kind of alert and a kind of channel are. A new one is one file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from spaces.settings_schema import SettingsDeclaration

MOST_NAMED = 20  # of what is wrong, in one message

ALERT, RESOLVED, TEST = "alert", "resolved", "test"
TITLES = {ALERT: "Alert", RESOLVED: "Resolved", TEST: "Test"}


@dataclass(frozen=True)
class Finding:
    """Something is wrong with a subject now. subject: a public id. message: one sentence, which names no person."""

    subject: str
    name: str
    message: str


@dataclass(frozen=True)
class AlertKind:
    """What an alert rule can watch for, in an app above this one.

    subjects: what of a space a rule may be about, as (public id, name). check: what is wrong now with these subjects,
    or with any when there are none; it reads only. sentence: what is watched for, given the options and the name of
    the subject or "". every_s: how often it is looked at, in seconds.
    """

    kind: str
    label: str
    description: str
    options: type[SettingsDeclaration]
    about: str  # what its subjects are called, such as "audience"
    subjects: Callable[[Any], Sequence[tuple[str, str]]]
    check: Callable[[Any, Any, str, datetime], Sequence[Finding]]
    sentence: Callable[[Any, str], str]
    every_s: int = 60


@dataclass(frozen=True)
class AlertMessage:
    """What is sent of one look at a rule. what: ALERT, RESOLVED or TEST. url: of the page about it; "" = not known."""

    id: str
    what: str
    rule: str
    space: str
    sentence: str
    at: datetime
    findings: Sequence[Finding] = field(default_factory=tuple)
    url: str = ""

    @property
    def title(self) -> str:
        """One line."""
        # Of blanks only single ones: a mail with a line break in its subject is refused.
        return " ".join(f"{TITLES[self.what]}: {self.rule} ({self.space})".split())

    @property
    def lines(self) -> list[str]:
        """What is wrong, or no longer is; at most MOST_NAMED of them."""
        # A tool that fails is wrong for a hundred audiences at once; a message is to be read.
        shown = [finding.message for finding in self.findings[:MOST_NAMED]]
        more = len(self.findings) - len(shown)
        over = ["It is over:"] if self.what == RESOLVED and shown else []
        return [*over, *shown, *([f"and {more} more"] if more else [])]

    @property
    def text(self) -> str:
        return "\n".join([*self.lines, "", f"Watched for: {self.sentence}", *([self.url] if self.url else [])]).strip()


class ChannelError(Exception):
    """A message was not taken. The text is for the user. permanent: trying again unchanged will not help."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True)
class ChannelKind:
    """A way in which people are told. send: raises ChannelError."""

    kind: str
    label: str
    description: str
    settings: type[SettingsDeclaration]
    send: Callable[[Any, AlertMessage], None]
