"""PURE. Test cases of a definition: what is known of a made-up person or account, and what is to come of it.

A case is asked by the statement that decides membership, to the letter: before it stand tables of the same names as the
stored ones, which hide these, with the rows of the case (`audiences.rules.given_rows`). So no stored event is read or
written, and there is no second meaning.

A made-up account has one user, who did all of its events. There is nobody else: a definition with a group about others
cannot be asked.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pyroaring import BitMap

from audiences.rules.aggregates import LOTS
from audiences.rules.compiler import KINDS, QueryScope
from audiences.rules.given_rows import NOWHERE, GivenEvent, GivenTrait, given_tables
from audiences.rules.grammar import ACCOUNTS, USERS
from audiences.rules.references import PastMembership
from audiences.rules.validation import DefinitionError, JsonReader, listed, number, scalar, text
from sources.events.properties import readable, split, storable_json
from sources.events.sql import Sql, sql
from spaces.times import iso, milliseconds

MOST_CASES = 30  # of one audience: each moment is a statement of its own, and a save waits for all of them
MOST_EVENTS = 50  # of one case
MOST_TRAITS = 50
MOST_AUDIENCES = 20
LONGEST_TITLE = 200  # characters
LONGEST_JSON = 10_000  # of the properties of one event, or of one trait

Row = TypeVar("Row")


@dataclass(frozen=True)
class CaseEvent:
    """Something that the person, or a user of the account, did. source: the slug of where it came from; "" = of no
    known source."""

    name: str
    at: datetime
    properties: Mapping[str, Any]
    source: str = ""


@dataclass(frozen=True)
class CaseMembership:
    """An audience that the person was in. entered_at: None = so long ago that no window reaches it. left_at: None =
    they are still in it."""

    key: str
    entered_at: datetime | None = None
    left_at: datetime | None = None

    def holds(self, at: datetime) -> bool:
        return (self.entered_at is None or self.entered_at <= at) and (self.left_at is None or self.left_at > at)


@dataclass(frozen=True)
class DefinitionCase:
    """expected: whether they are in the audience; of a computed trait its value, None = it has none.

    anonymous: nothing but an anonymous id is known of them. split: where their lot is in every random split, in per
    cent; the lots of people are another one in each.
    """

    title: str
    at: datetime
    expected: Any
    events: Sequence[CaseEvent] = ()
    traits: Mapping[str, Any] | None = None
    audiences: Sequence[CaseMembership] = ()
    anonymous: bool = False
    split: float = 0

    def json(self) -> dict[str, Any]:
        """As it is kept, and as `parse_case` reads it."""
        return {
            "name": self.title,
            "at": iso(self.at),
            "expected": self.expected,
            "events": [
                {"name": event.name, "at": iso(event.at), "properties": dict(event.properties), "source": event.source}
                for event in self.events
            ],
            "traits": dict(self.traits or {}),
            "audiences": [
                {"key": membership.key}
                | {
                    name: iso(at)
                    for name, at in (("enteredAt", membership.entered_at), ("leftAt", membership.left_at))
                    if at is not None
                }
                for membership in self.audiences
            ],
            "anonymous": self.anonymous,
            "split": self.split,
        }


def parse_case(value: Any, *, of_trait: bool = False, of: str = USERS) -> DefinitionCase:
    """of: whom the definition is about. Raises DefinitionError with the path of what is wrong."""
    reader = JsonReader(value, "")
    title = text(reader.take("name"), "name")
    if len(title) > LONGEST_TITLE:
        raise reader.error("name", f"must not be longer than {LONGEST_TITLE} characters")
    at = _moment(reader.take("at"), "at")
    expected = reader.take("expected")
    if not of_trait and not isinstance(expected, bool):
        raise reader.error("expected", "must be true (in the audience) or false")
    events = _rows(reader, "events", _event, most=MOST_EVENTS)
    for place, event in enumerate(events):
        if event.at > at:
            raise DefinitionError(f"events[{place}].at", "must not be after the moment of the case")
    case = DefinitionCase(
        title=title,
        at=at,
        expected=_kept(expected, "expected") if of_trait else expected,
        events=events,
        traits=_object(reader.take("traits"), "traits", most=MOST_TRAITS) if "traits" in reader else {},
        audiences=_rows(reader, "audiences", _membership, most=MOST_AUDIENCES),
        anonymous=reader.take("anonymous") if "anonymous" in reader else False,
        split=number(reader.take("split"), "split") if "split" in reader else 0,
    )
    if not isinstance(case.anonymous, bool):
        raise reader.error("anonymous", "must be true or false")
    if not 0 <= case.split < 100:
        raise reader.error("split", "must be at least 0 and less than 100")
    if case.anonymous and of == ACCOUNTS:
        raise reader.error("anonymous", "must be false: an account is never anonymous")
    reader.done()
    return case


def scope_of(cases: Sequence[DefinitionCase], *, space: int, sources: Mapping[str, int], of: str = USERS) -> QueryScope:
    """Whoever these cases are about, which are of one moment: numbered from 1 in their order. sources: keys, by slug.
    of: whom they are about.
    """
    # Given, not drawn: a case says where the lot of its person lies.
    lots = [round(case.split * LOTS / 100) for case in cases]
    return QueryScope(
        workspace=NOWHERE,
        space=space,
        seen=Sql("1"),
        now=milliseconds(cases[0].at),
        # Everyone: there is nobody but them, and whom stored profiles of these numbers belong to is not looked up.
        tables=_tables(cases, space, sources, of),
        lot=sql("arrayElement(%s, profile)", lots),
    )


def memberships_in(
    cases: Sequence[DefinitionCase], keys: Sequence[str], pasts: Sequence[PastMembership]
) -> dict[str, BitMap]:
    """Who of these cases is in the audiences with these keys, and was in them, by the names of the memberships."""
    known: dict[str, BitMap] = {}
    for key in {*keys, *(past.key for past in pasts)}:
        known[key] = _those(cases, lambda case, mine: any(one.holds(case.at) for one in mine), key)
    for past in pasts:
        # Nobody enters in a tick of its own here: before it they are who they are in it.
        known[past.before] = known[past.key]
        known[past.name] = _those(cases, lambda case, mine, past=past: _was_in(case, mine, past), past.key)
    return known


def _was_in(case: DefinitionCase, mine: Sequence[CaseMembership], past: PastMembership) -> bool:
    if past.within is None:
        return any(one.entered_at is None or one.entered_at <= case.at for one in mine)
    opens = case.at - timedelta(milliseconds=past.within.milliseconds)
    return any(one.entered_at is not None and opens < one.entered_at <= case.at for one in mine)


def _those(cases: Sequence[DefinitionCase], test: Callable[..., bool], key: str) -> BitMap:
    # From 1: no profile has the number 0.
    chosen = (place for place, case in enumerate(cases, 1) if test(case, [m for m in case.audiences if m.key == key]))
    return BitMap(chosen)


def _tables(cases: Sequence[DefinitionCase], space: int, sources: Mapping[str, int], of: str) -> Sql:
    """`WITH …`: the tables that the compiler reads, with the rows of the cases."""
    profiles, links = [], []
    events: list[GivenEvent] = []
    traits: list[GivenTrait] = []
    for place, case in enumerate(cases, 1):
        profiles.append((place, KINDS[of], 0 if case.anonymous else 1))
        # In a case about people they did their events themselves.
        actor = place
        if of == ACCOUNTS:  # users are numbered after all accounts
            actor = len(cases) + place
            profiles.append((actor, KINDS[USERS], 1))
            links.append((actor, place))
        for position, event in enumerate(case.events):
            properties, lists = split(storable_json(_encoded(event.properties)))
            texts = properties.decode(), lists.decode()
            origin = milliseconds(event.at), sources.get(event.source, 0), 1, position
            events.append(GivenEvent(actor, event.name, "track", *texts, *origin))
        for key, value in (case.traits or {}).items():
            text = readable(storable_json(_encoded(value))).decode()
            traits.append(GivenTrait(place, key, text, milliseconds(case.at)))
    return given_tables(space, profiles=profiles, links=links, events=events, traits=traits)


def _rows(reader: JsonReader, name: str, read: Callable[[Any, str], Row], *, most: int) -> tuple[Row, ...]:
    """As JsonReader.rows, and a list may be empty."""
    if name not in reader:
        return ()
    rows = reader.take(name)
    # `listed` wants one row at least; of a case every list may be empty.
    if rows == []:
        return ()
    return tuple(read(row, f"{name}[{place}]") for place, row in enumerate(listed(rows, name, most=most)))


def _event(value: Any, path: str) -> CaseEvent:
    reader = JsonReader(value, path)
    source = reader.take("source") if "source" in reader else ""
    event = CaseEvent(
        name=reader.name("name"),
        at=_moment(reader.take("at"), reader.at("at")),
        properties=_object(reader.take("properties"), reader.at("properties")) if "properties" in reader else {},
        source="" if source == "" else text(source, reader.at("source")),
    )
    reader.done()
    return event


def _membership(value: Any, path: str) -> CaseMembership:
    reader = JsonReader(value, path)
    key = reader.name("key")
    entered, left = (
        _moment(reader.take(name), reader.at(name)) if name in reader else None for name in ("enteredAt", "leftAt")
    )
    if entered and left and left < entered:
        raise reader.error("leftAt", "must not be before they entered")
    reader.done()
    return CaseMembership(key, entered, left)


def _moment(value: Any, path: str) -> datetime:
    try:
        at = datetime.fromisoformat(value)
        milliseconds(at)
    except (TypeError, ValueError, OverflowError) as error:  # TypeError: no text, or a moment without its time zone
        raise DefinitionError(path, "must be a moment with its time zone, such as 2026-06-15T12:00:00Z") from error
    if not 1970 <= at.year < 2200:
        raise DefinitionError(path, "must be between 1970 and 2200")
    return at


def _object(value: Any, path: str, *, most: int | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DefinitionError(path, "must be an object")
    if most is not None and len(value) > most:
        raise DefinitionError(path, f"must not have more than {most} keys")
    return {key: _kept(one, f"{path}.{key}") for key, one in value.items()}


def _kept(value: Any, path: str) -> Any:
    """A JSON value of bounded size, all of whose texts and numbers every store can hold."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            left += [*part, *part.values()]
        elif isinstance(part, list):
            left += part
        elif part is not None:
            scalar(part, path)
    if len(_encoded(value)) > LONGEST_JSON:
        raise DefinitionError(path, f"must not be longer than {LONGEST_JSON} characters")
    return value


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
