"""The comparisons: pure, each ending in a list of faults that say who is concerned, empty when all agree."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from quickstart.resolver import DEFAULTS, Fed, Reference
from quickstart.truth import Members

NAMED = 5  # of those who differ, so many are named
LATE_S = 15  # who leaves a window because time passes is out so soon

Identifiers = frozenset[tuple[str, str]]
Key = tuple[str, str]  # of a message: the source's name, and its id


class Recorded(NamedTuple):
    """A row of the console's timeline. origin: the source's name. profile: None = the message belongs to nobody."""

    origin: str
    message_id: str
    profile: str | None
    at: int


@dataclass(frozen=True)
class Resolved:
    """A profile, as either resolver sees it."""

    identifiers: Identifiers
    messages: frozenset[tuple[str, str]]

    def __str__(self) -> str:
        ids = ", ".join(f"{type} {value}" for type, value in sorted(self.identifiers)) or "nothing"
        return f"the profile of {ids} with {len(self.messages):,} messages"


def by_reference(recorded: Iterable[Recorded], sent: Callable[[Recorded], Mapping[str, Any] | None]) -> set[Resolved]:
    """The profiles that the naive resolver makes of the messages, in the order in which the console recorded them.

    sent: the message behind a row; None when it was never sent.
    """
    # By its place and not by its id: two sources may use one id, and each is a message of its own.
    reference = Reference(DEFAULTS)
    keys = {}
    for place, row in enumerate(recorded):
        keys[str(place)] = (row.origin, row.message_id)
        if (message := sent(row)) is not None:
            reference.feed(Fed(message, str(place), row.at, place))
    return {
        Resolved(profile.identifiers, frozenset(keys[id] for id in profile.messages))
        for profile in reference.profiles()
    }


def by_console(recorded: Iterable[Recorded], identifiers: Mapping[str, Identifiers]) -> set[Resolved]:
    """The profiles as the console shows them: their identifiers, and the messages its timeline gives to each."""
    messages: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in recorded:
        if row.profile is not None:
            messages[row.profile].add((row.origin, row.message_id))
    people = identifiers.keys() | messages.keys()
    return {Resolved(identifiers.get(id, frozenset()), frozenset(messages[id])) for id in people}


def compare_profiles(console: set[Resolved], reference: set[Resolved]) -> list[str]:
    only_here = [f"only the console has {profile}" for profile in sorted(console - reference, key=str)]
    only_there = [f"only the naive resolver has {profile}" for profile in sorted(reference - console, key=str)]
    if not only_here and not only_there:
        return []
    return [
        f"profiles: {len(only_here):,} of the console and {len(only_there):,} of the naive resolver differ",
        *only_here[:NAMED],
        *only_there[:NAMED],
    ]


def compare_timeline(recorded: Iterable[Recorded], expected: Iterable[Key], possible: Iterable[Key] = ()) -> list[str]:
    """Each expected message is in the timeline, and each row of it is a message that was sent, once.

    possible: messages at the very edge of what a replay covers, which may be there or not.
    """
    seen = Counter((row.origin, row.message_id) for row in recorded)
    sent = Counter(expected)
    # Messages at the edge may be there, so they are sent as far as surplus goes, and not as far as lack does.
    missing, sent = sent - seen, sent + Counter(possible)
    extra = seen - sent
    faults = [
        _who("sent, and missing in the timeline", missing),
        _who("in the timeline, and not sent by the quickstart", extra.keys() - sent.keys()),
        _who("in the timeline more than once", extra.keys() & sent.keys()),
    ]
    return [fault for fault in faults if fault]


@dataclass(frozen=True)
class Seen:
    """An audience at one moment, as user ids. preview: its size, some of it, and truth at the preview's own moment.

    known: every identifier under which its members are to be sent. arrived: every one that the destination holds.
    lately: the truth LATE_S seconds before the preview: so old may be what the console computed.
    """

    preview: int
    sample: frozenset[str]
    preview_truth: Members | None
    computed: frozenset[str]
    truth: Members | None
    delivered: frozenset[str]
    known: Identifiers = frozenset()
    arrived: Identifiers = frozenset()
    lately: Members | None = None

    @property
    def settled(self) -> bool:
        """Nobody is just crossing the edge of a window: truth is one set, at both moments."""
        if self.truth is None or self.preview_truth is None:
            return True
        return not self.truth.unsure and self.truth == self.preview_truth


def compare_audience(name: str, seen: Seen) -> list[str]:
    """Who is not seen by all four. Those whose membership hangs on a few seconds may be seen or not."""
    faults = [
        _who(f"{name}: computed, but not delivered", seen.computed - seen.delivered),
        _who(f"{name}: delivered, but not computed", seen.delivered - seen.computed),
        _who(f"{name}: an identifier of a member did not arrive", seen.known - seen.arrived),
        _who(f"{name}: an identifier of no member arrived", seen.arrived - seen.known),
    ]
    if seen.truth:
        faults.append(_who(f"{name}: computed, but not in truth", seen.computed - seen.truth.possible))
        faults.append(_who(f"{name}: in truth, but not computed", seen.truth.sure - seen.computed))
    # Membership was computed at some moment of the last LATE_S: at fault is only who was in, or out, all that time.
    if seen.preview_truth and seen.lately:
        gone = seen.computed - seen.lately.possible - seen.preview_truth.possible
        come = (seen.lately.sure & seen.preview_truth.sure) - seen.computed
        faults.append(_who(f"{name}: still computed, {LATE_S} s after leaving the truth", gone))
        faults.append(_who(f"{name}: not yet computed, {LATE_S} s after entering the truth", come))
    if seen.preview_truth:
        faults.append(_who(f"{name}: previewed, but not in truth", seen.sample - seen.preview_truth.possible))
    else:
        faults.append(_who(f"{name}: previewed, but not computed", seen.sample - seen.computed))
    low = len(seen.preview_truth.sure) if seen.preview_truth else len(seen.computed)
    high = len(seen.preview_truth.possible) if seen.preview_truth else low
    if not low <= seen.preview <= high:
        faults.append(f"{name}: preview counts {seen.preview:,} people, not {low:,}")
    return [fault for fault in faults if fault]


def _who(what: str, which: Collection[Any]) -> str:
    if not which:
        return ""
    named = ", ".join(" ".join(item) if isinstance(item, tuple) else str(item) for item in sorted(which)[:NAMED])
    return f"{what}: {named}" + (f" and {len(which) - NAMED:,} more" if len(which) > NAMED else "")
