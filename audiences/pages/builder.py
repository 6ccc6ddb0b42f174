"""What the audience builder shows: each row of a sketch with its words, its entries and what is wrong with it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet

from audiences import overview, services
from audiences.conditions import KINDS
from audiences.conditions.event import WORDS
from audiences.models import Audience, Draft
from audiences.queries import NotComputed, Unanswerable
from audiences.rules import draft_form
from audiences.rules.draft_form import Flaw, Sketch
from audiences.rules.operators import OPERATORS
from audiences.rules.validation import DefinitionError
from audiences.rules.value_input import TYPES
from audiences.rules.windows import UNITS
from audiences.services import Preview
from identity.pages.presenters import Person
from spaces.clock import clock
from spaces.models import Space

logger = logging.getLogger(__name__)

SAMPLE = 8
TOO_HEAVY = "This takes too long to work out. A shorter time window or fewer conditions help."
NOT_NOW = "This cannot be worked out just now. Try again in a moment."
# (how the rows of a group are joined, whether it is the first one): the words at the side, and those of a negated row
GUTTER = {
    ("all", True): ("who", "not who"),
    ("all", False): ("And also", "And not who"),
    ("any", True): ("who", "not who"),
    ("any", False): ("or who", "or not who"),
}
ROOT_FIRST = {"all": ("All people who", "All people except who"), "any": ("People who", "People except who")}
JOIN_WORDS = {"all": "all of these are true", "any": "any of these is true"}


@dataclass(frozen=True)
class Choice:
    """An option of a select. takes: of an operator, which kind of value it wants."""

    value: str
    label: str
    chosen: bool
    takes: str = ""


@dataclass(frozen=True)
class Entry:
    """One input: its name in the form, its id on the page, and what is wrong with it."""

    name: str
    id: str
    value: str
    choices: Sequence[Choice] = ()
    error: str = ""
    lines: bool = False  # several values, in a line each


@dataclass(frozen=True)
class Row:
    """A condition or a group in the form. word: in the gutter, what ties it to the row above it."""

    path: str
    number: str
    word: str
    label: str
    template: str
    negated: bool
    nots: Entry
    first: bool
    last: bool
    error: str
    kind: Entry | None = None
    entries: dict[str, Any] = field(default_factory=dict)
    join: Entry | None = None
    rows: Sequence["Row"] = ()

    @property
    def id(self) -> str:
        return id_of(self.path)

    @property
    def movable(self) -> bool:
        return bool(self.path)


@dataclass(frozen=True)
class Seen:
    """What a sketch means at this moment; or why nobody can say: `flaws` with the number of their row, or `problem`."""

    preview: Preview | None = None
    people: Sequence[Person] = ()
    flaws: Sequence[tuple[str, str, str]] = ()  # (row number, id of the row, message)
    problem: str = ""
    starts_with: int | None = None  # of a draft that leaves history out: how many there are at its creation

    @property
    def size(self) -> int:
        return len(self.preview.members) if self.preview else 0

    @property
    def more(self) -> int:
        return self.size - len(self.people)


@dataclass(frozen=True)
class Adding:
    """A button that adds a row of this kind."""

    kind: str
    label: str
    icon: str


OFFERED = sorted(KINDS.values(), key=lambda kind: kind.label, reverse=True)  # performing an event first
ADDING = [
    *(Adding(kind.kind, kind.label, kind.icon) for kind in OFFERED),
    Adding(draft_form.GROUP, "Group of conditions", "group"),
]


def rows_of(tree: Sketch, *, space: Space, flaws: Sequence[Flaw] = (), besides: Audience | None = None) -> Row:
    """The root of the form, with everything below it. besides: an audience that cannot be a part of itself."""
    found = _Drawing(_keys(space, besides), {(flaw.path, _entry_of(tree, flaw)): flaw.message for flaw in flaws})
    return found.node(tree, "", "", first=True, last=True, above="")


def seen(tree: Sketch, *, of: Draft | Audience) -> Seen:
    """The preview of what can be previewed, with some of the people. It changes nothing and raises nothing."""
    flaws = draft_form.flaws(tree)
    if flaws:
        return Seen(flaws=_shown(flaws))
    try:
        found, starts_with = _previewed(of, draft_form.definition(tree))
    except DefinitionError as error:
        return Seen(flaws=_shown([draft_form.flaw_of(tree, error)]))
    except NotComputed as error:
        return Seen(problem=str(error))
    except Unanswerable as error:
        logger.warning("a preview in %s: %s", of.space.public_id, error)
        return Seen(problem=unanswered(error))
    return Seen(found, overview.sample(of.space, found.members, SAMPLE), starts_with=starts_with)


def unanswered(error: Unanswerable) -> str:
    """Why a preview has no answer, for the user."""
    if error.limit:
        return TOO_HEAVY
    return NOT_NOW if error.passes else str(error)


def _previewed(of: Draft | Audience, definition: Any) -> tuple[Preview, int | None]:
    """Whom it means; and how many it begins with where that is another question, since history is left out."""
    asked: dict[str, Any] = {"include_anonymous": of.include_anonymous, "now": clock.now()}
    if isinstance(of, Audience):
        return services.preview(of.space, definition, events_since=of.events_since, **asked), None
    if of.include_historical:
        return services.preview(of.space, definition, **asked), None
    found = services.beginnings(of.space, definition, **asked)
    return found.with_history, len(found.from_now_on.members)


def _shown(flaws: Sequence[Flaw]) -> list[tuple[str, str, str]]:
    return [(_number(flaw.path), id_of(flaw.path), flaw.message) for flaw in flaws]


def _keys(space: Space, besides: Audience | None) -> list[tuple[str, str]]:
    """The audiences that can be asked about, as (key, name)."""
    living: QuerySet[Audience] = Audience.objects.filter(space=space, deleted_at=None)
    others = living.exclude(pk=besides.pk) if besides else living
    return list(others.order_by("name", "pk").values_list("key", "name"))


class _Drawing:
    """Turns nodes into rows. errors: by (path, entry); the entry of a row in a list is such as `where.0.value`."""

    def __init__(self, keys: Sequence[tuple[str, str]], errors: dict[tuple[str, str], str]) -> None:
        self.keys = keys
        self.errors = errors

    def node(self, node: Sketch, path: str, number: str, *, first: bool, last: bool, above: str) -> Row:
        negated = node["not"] != "0"
        root_first = path.count(".") == 1 and first
        words = (ROOT_FIRST[above] if root_first else GUTTER[above, first]) if above else ("", "")
        shared: dict[str, Any] = {
            "path": path,
            "number": number,
            "word": words[int(negated and int(node["not"]) % 2)],
            "negated": int(node["not"]) % 2 == 1,
            "nots": self._entry(path, "not", node["not"]),
            "first": first,
            "last": last,
        }
        return self._condition(node, path, shared) if "kind" in node else self._group(node, path, number, shared)

    def _group(self, node: Sketch, path: str, number: str, shared: dict[str, Any]) -> Row:
        count = len(node["rows"])
        rows = [
            self.node(
                row,
                _below(path, f"rows.{i}"),
                f"{number}.{i + 1}".strip("."),
                first=i == 0,
                last=i == count - 1,
                above=node["join"],
            )
            for i, row in enumerate(node["rows"])
        ]
        choices = [Choice(word, label, word == node["join"]) for word, label in JOIN_WORDS.items()]
        return Row(
            **shared,
            label="Group",
            template="audiences/_group.html",
            error=self.errors.get((path, ""), ""),
            join=self._entry(path, "join", node["join"], choices),
            rows=rows,
        )

    def _condition(self, node: Sketch, path: str, shared: dict[str, Any]) -> Row:
        kind = KINDS[node["kind"]]
        entries = {name: self._shown(kind, path, node, name) for name in kind.blank}
        known = {(path, name) for name in kind.blank} | {
            (path, f"{name}.{i}.{each}")
            for name, blank in kind.rows.items()
            for i in range(len(node[name]))
            for each in blank
        }
        rest = [message for place, message in self.errors.items() if place[0] == path and place not in known]
        return Row(
            **shared,
            label=kind.label,
            template=f"audiences/conditions/{node['kind']}.html",
            error=" ".join(rest),
            kind=self._entry(path, "kind", node["kind"]),
            entries=entries,
        )

    def _shown(self, kind: Any, path: str, node: Sketch, name: str) -> Any:
        if name in kind.rows:
            return [
                {
                    "path": _below(path, f"{name}.{i}"),
                    **{
                        each: self._entry(
                            path, f"{name}.{i}.{each}", row[each], self._choices(each, row), lines=_takes(row) == "list"
                        )
                        for each in kind.rows[name]
                    },
                }
                for i, row in enumerate(node[name])
            ]
        return self._entry(path, name, node[name], self._choices(name, node), lines=_takes(node) == "list")

    def _entry(self, path: str, name: str, value: str, choices: Sequence[Choice] = (), *, lines: bool = False) -> Entry:
        whole = f"{draft_form.FIELD}.{_below(path, name)}"
        return Entry(whole, whole.replace(".", "-"), value, choices, self.errors.get((path, name), ""), lines)

    def _choices(self, name: str, entries: Sketch) -> list[Choice]:
        """What can be chosen for an entry of this name; nothing when it is typed."""
        offered: dict[str, dict[str, str]] = {
            "op": {each.name: each.label for each in OPERATORS.values()},
            "type": TYPES,
            "frequency": WORDS,
            "unit": {"": "at any time"} | {unit: unit for unit in UNITS},
            "key": {"": "Choose an audience"} | dict(self.keys),
        }
        labels = offered.get(name, {})
        chosen = entries[name]
        if labels and chosen not in labels:  # never quietly another one: an audience may be gone
            labels = labels | {chosen: chosen}
        return [Choice(value, label, value == chosen, _wants(name, value)) for value, label in labels.items()]


def _wants(name: str, value: str) -> str:
    return (OPERATORS[value].takes or "nothing") if name == "op" and value in OPERATORS else ""


def _takes(entries: Sketch) -> str:
    return _wants("op", entries.get("op", ""))


def _entry_of(tree: Sketch, flaw: Flaw) -> str:
    """`where[0].value` as the form names it."""
    name = flaw.entry.replace("[", ".").replace("]", "")
    kind = draft_form.at(tree, flaw.path).get("kind")
    return KINDS[kind].entry_of.get(name.split(".")[0], name) if kind else name


def _number(path: str) -> str:
    """`rows.1.rows.0` as people count: 2.1."""
    return ".".join(str(int(part) + 1) for part in path.split(".") if part.isdigit())


def id_of(path: str) -> str:
    return f"node-{path.replace('.', '-')}".strip("-")


def _below(path: str, more: str) -> str:
    return f"{path}.{more}" if path else more
