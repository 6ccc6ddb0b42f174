"""What the audience builder shows: each row of a tree with its words, its entries and what is wrong with it."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import QuerySet

from audiences import overview, services
from audiences.conditions import KINDS
from audiences.models import Audience, Draft
from audiences.never_seen import never_seen
from audiences.queries import NotComputed, Unanswerable
from audiences.rules import draft_form, grammar
from audiences.rules.conditions import Condition, EventCondition
from audiences.rules.draft_form import Flaw, Tree
from audiences.rules.operators import OPERATORS
from audiences.rules.validation import DefinitionError
from audiences.rules.value_input import AUTO, referring
from audiences.rules.whom import WHOM
from audiences.services import CountedStep, Preview
from audiences.traits import TRAITS
from audiences.value_types import typed, undecided
from identity.pages.presenters import Person
from spaces.clock import clock
from spaces.models import Space

logger = logging.getLogger(__name__)

SAMPLE = 8
TOO_HEAVY = "This takes too long to work out. A shorter time window or fewer conditions help."
NOT_NOW = "This cannot be worked out just now. Try again in a moment."
# (how the rows of a group are joined, whether it is the first one): the words at the side, and those of a negated row
GUTTER = {
    ("all", True): ("{who}", "not {who}"),
    ("all", False): ("And also", "And not {who}"),
    ("any", True): ("{who}", "not {who}"),
    ("any", False): ("or {who}", "or not {who}"),
}
# Of a group about others: which of them, to be read before "of these is true".
WHICH_OTHERS = {
    grammar.USERS: {"any": "any of its users", "all": "all of its users", "none": "none of its users"},
    grammar.ACCOUNTS: {
        "any": "any of their accounts",
        "all": "all of their accounts",
        "none": "none of their accounts",
    },
}
JOIN_WORDS = {"all": "all of these are true", "any": "any of these is true"}


@dataclass(frozen=True)
class Choice:
    """An option of a select. takes: of an operator, which kind of value it wants, or what it compares with instead."""

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
    label: str = ""
    asked: bool = True  # False: what is there is right, and nobody needs to see it

    @property
    def takes(self) -> str:
        """Of the chosen operator."""
        return next((choice.takes for choice in self.choices if choice.chosen), "")


@dataclass(frozen=True)
class BuilderRow:
    """A condition or a group in the form. word: in the gutter, what ties it to the row above it."""

    path: str
    number: str
    word: str
    label: str
    template: Sequence[str]  # the first of these that exists
    negated: bool
    nots: Entry
    first: bool
    last: bool
    error: str
    kind: Entry | None = None
    entries: dict[str, Any] = field(default_factory=dict)
    join: Entry | None = None
    which: Entry | None = None  # of a group about others: any, all or none of them
    rows: Sequence["BuilderRow"] = ()
    adding: Sequence["Adding"] = ()  # what a group may get

    @property
    def id(self) -> str:
        return id_of(self.path)


@dataclass(frozen=True)
class DraftPreview:
    """Whom a tree means at this moment; or why nobody can say: `flaws` with the number of their row, or `problem`."""

    preview: Preview | None = None
    people: Sequence[Person] = ()
    flaws: Sequence[tuple[str, str, str]] = ()  # (row number, id of the row, message)
    problem: str = ""
    unseen: Sequence[tuple[str, str, str]] = ()  # as flaws: it asks about what nobody ever sent
    starts_with: int | None = None  # of a draft that leaves history out: how many there are at its creation
    steps: Sequence["CountedRow"] = ()

    @property
    def size(self) -> int:
        return len(self.preview.members) if self.preview else 0

    @property
    def more(self) -> int:
        return self.size - len(self.people)


@dataclass(frozen=True)
class CountedRow:
    """A row of the form with its count. left: with the rows before it. change: by how much that is more or less."""

    number: str
    id: str
    size: int
    left: int
    change: int
    share: int  # per cent of the longest bar


@dataclass(frozen=True)
class Adding:
    """A button that adds a row of this kind."""

    kind: str
    label: str
    icon: str


OFFERED = sorted(
    KINDS.values(), key=lambda kind: (kind.kind != "event", not issubclass(kind, EventCondition), kind.label)
)
ADDING = [
    *(Adding(kind.kind, kind.label, kind.icon) for kind in OFFERED),
    Adding(draft_form.GROUP, "Group of conditions", "group"),
]
ABOUT_OTHERS = {  # by whom the group is about
    grammar.USERS: Adding(grammar.ACCOUNTS, "Their accounts", "spaces"),
    grammar.ACCOUNTS: Adding(grammar.USERS, "Its users", "people"),
}


def rows_of(
    tree: Tree,
    *,
    space: Space,
    of: str = grammar.USERS,
    flaws: Sequence[Flaw] = (),
    besides: Audience | None = None,
) -> BuilderRow:
    """The root of the form, with everything below it. of: whom it is about. besides: an audience that cannot be a part
    of itself."""
    audiences: QuerySet[Audience] = Audience.objects.filter(space=space, deleted_at=None)
    if besides:
        # A longer circle is refused when it is saved: to look for it in each option would be slow.
        audiences = audiences.exclude(pk=besides.pk)
    keys: dict[str, list[tuple[str, str]]] = {whom: [] for whom in grammar.RELATED}
    for key, name, whom in audiences.order_by("name", "pk").values_list("key", "name", "of"):
        keys[whom].append((key, name))
    errors = {(flaw.path, flaw.entry): flaw.message for flaw in flaws}
    rendering = _Rendering(keys, errors, undecided(space, tree))
    return rendering.row(draft_form.as_group(tree), "", "", (of,), first=True, last=True, above="")


def preview_of(tree: Tree, *, of: Draft | Audience) -> DraftPreview:
    """Whom the tree means now, with some of the people; or why nobody can say. It changes nothing, raises nothing."""
    flaws = draft_form.flaws(tree)
    if flaws:
        return DraftPreview(flaws=_numbered(flaws))
    options: dict[str, Any] = {"of": of.of, "include_anonymous": of.include_anonymous, "now": clock.now()}
    starts_with = None
    try:
        definition = draft_form.definition(typed(of.space, tree))
        if isinstance(of, Audience):
            preview = services.preview(of.space, definition, events_since=of.events_since, **options)
        elif of.include_historical:
            preview = services.preview(of.space, definition, **options)
        else:  # with how many it begins is another question, since history is left out
            beginnings = services.beginnings(of.space, definition, **options)
            preview, starts_with = beginnings.with_history, len(beginnings.from_now_on.members)
    except DefinitionError as error:
        return DraftPreview(flaws=_numbered([draft_form.flaw_of(tree, error)]))
    except NotComputed as error:
        return DraftPreview(problem=str(error))
    except Unanswerable as error:
        # Logged, since the page says no more than that it did not work.
        logger.warning("a preview in %s: %s", of.space.public_id, error)
        return DraftPreview(problem=unanswered(error))
    unseen = [
        replace(draft_form.flaw_of(tree, DefinitionError(name.path, "")), message=name.sentence)
        for name in never_seen(of.space, grammar.parse(definition))
    ]
    people = overview.sample(of.space, preview.members, SAMPLE)
    return DraftPreview(
        preview, people, unseen=_numbered(unseen), starts_with=starts_with, steps=_counted(preview.steps)
    )


def _counted(steps: Sequence[CountedStep]) -> list[CountedRow]:
    most = max((step.left for step in steps), default=0) or 1
    before = [None, *(step.left for step in steps)]
    return [
        CountedRow(
            number=str(place + 1),
            id=id_of(f"rows.{place}"),
            size=step.size,
            left=step.left,
            change=0 if last is None else step.left - last,
            share=round(100 * step.left / most),
        )
        for place, (step, last) in enumerate(zip(steps, before, strict=False))
    ]


def unanswered(error: Unanswerable) -> str:
    """Why a preview has no answer, for the user."""
    if error.limit:
        return TOO_HEAVY
    return NOT_NOW if error.passes else str(error)


def id_of(path: str) -> str:
    return f"node-{path.replace('.', '-')}".strip("-")


def _numbered(flaws: Sequence[Flaw]) -> list[tuple[str, str, str]]:
    """Each flaw as (row as people count, 2.1 for `rows.1.rows.0`; id of the row; message)."""
    numbers = [[str(int(part) + 1) for part in flaw.path.split(".") if part.isdigit()] for flaw in flaws]
    return [(".".join(number), id_of(flaw.path), flaw.message) for number, flaw in zip(numbers, flaws, strict=True)]


class _Rendering:
    """Turns nodes into rows. errors: by (path, entry); the entry of a row in a list is such as `where.0.value`.

    keys: of the audiences that can be asked about, with their names, by whom they are about. undecided: the questions
    that must say of which type their value is.
    """

    def __init__(
        self,
        keys: Mapping[str, Sequence[tuple[str, str]]],
        errors: dict[tuple[str, str], str],
        undecided: Collection[str],
    ) -> None:
        self.keys = keys
        self.errors = errors
        self.undecided = undecided

    def row(
        self, node: Tree, path: str, number: str, about: tuple[str, ...], *, first: bool, last: bool, above: str
    ) -> BuilderRow:
        """about: whom the definition is about, and each group about others around the row. above: the word that joins
        the rows of the group around it; empty for the root."""
        negations = draft_form.negations(node)
        negated = negations % 2 == 1
        root_first = path.count(".") == 1 and first
        whom = WHOM[about[-1]]
        words = (whom.first[above] if root_first else GUTTER[above, first]) if above else ("", "")
        shared: dict[str, Any] = {
            "path": path,
            "number": number,
            "word": words[negated].format(who=whom.who),
            "negated": negated,
            "nots": self._entry(path, "not", str(negations)),
            "first": first,
            "last": last,
        }
        inner = draft_form.without_not(node)
        if "kind" in inner:
            return self._condition(inner, path, about[-1], shared)
        return self._group(inner, path, number, about, shared)

    def _group(self, node: Tree, path: str, number: str, about: tuple[str, ...], shared: dict[str, Any]) -> BuilderRow:
        word, of = draft_form.word_of(node), draft_form.whom_of(node)
        about = (*about, of) if of else about
        rows = [
            self.row(
                row,
                _below(path, f"rows.{i}"),
                f"{number}.{i + 1}".strip("."),
                about,
                first=i == 0,
                last=i == len(node[word]) - 1,
                above=word,
            )
            for i, row in enumerate(node[word])
        ]
        choices = [Choice(value, label, value == word) for value, label in JOIN_WORDS.items()]
        others = [Choice(value, label, value == node[of]) for value, label in WHICH_OTHERS[of].items()] if of else []
        return BuilderRow(
            **shared,
            label=f"Group about {of}" if of else "Group",
            template=["audiences/_group.html"],
            error=self.errors.get((path, ""), ""),
            join=self._entry(path, "join", word, choices),
            which=self._entry(path, of, node[of], others) if of else None,
            rows=rows,
            adding=[*ADDING, ABOUT_OTHERS[about[-1]]] if len(about) <= grammar.MOST_RELATED else ADDING,
        )

    def _condition(self, node: Tree, path: str, of: str, shared: dict[str, Any]) -> BuilderRow:
        kind = draft_form.FORMS[node["kind"]]
        entries = self._entries_and_rows(kind, path, of, "", {name: node[name] for name in kind.blank})
        inputs = {entry.name for entry in _flat(entries)}
        # What no input can say is said at the row.
        rest = [
            message
            for (place, name), message in self.errors.items()
            if place == path and f"{draft_form.FIELD}.{_below(path, name)}" not in inputs
        ]
        default = "traits/condition" if kind.kind in TRAITS else "conditions/default"
        return BuilderRow(
            **shared,
            label=kind.label,
            template=[f"audiences/conditions/{kind.kind}.html", f"audiences/{default}.html"],
            error=" ".join(rest),
            kind=self._entry(path, "kind", kind.kind),
            entries=entries,
        )

    def _entries_and_rows(
        self, kind: type[Condition], path: str, of: str, prefix: str, values: dict[str, Any]
    ) -> dict[str, Any]:
        """The inputs of a condition or of a row of one of its lists, and the rows of its lists in turn."""
        lists = {
            name: [
                {
                    "path": _below(path, f"{prefix}{name}.{i}"),
                    "number": i + 1,
                    **self._entries_and_rows(kind, path, of, f"{prefix}{name}.{i}.", row),
                }
                for i, row in enumerate(rows)
            ]
            for name, rows in values.items()
            if name in kind.blank_rows
        }
        inputs = {name: value for name, value in values.items() if name not in lists}
        return self._entries(kind, path, of, prefix, inputs) | lists

    def _entries(
        self, kind: type[Condition], path: str, of: str, prefix: str, values: dict[str, str]
    ) -> dict[str, Entry]:
        """The inputs of a condition, or of a row of one of its lists. prefix: of their names inside the condition."""
        operator = OPERATORS.get(values.get("op", ""))
        lines = operator is not None and operator.takes == "list"
        takes = {operator.name: operator.takes or "nothing" for operator in OPERATORS.values()}
        takes |= {referring(name, of): of for name, operator in OPERATORS.items() for of in operator.references}
        lists = ".".join(part for part in prefix.split(".") if part and not part.isdigit())
        labels_of_keys = kind.fields | kind.inner_labels  # a kind with a template of its own says it there
        entries = {}
        for name, value in values.items():
            labels = dict(kind.choices.get(_below(lists, name), kind.choices.get(name, {})))
            if name in kind.earlier_rows:
                before = int(prefix.rstrip(".").rpartition(".")[2])
                labels = {"0": kind.earlier_rows[name]} | {str(n): f"step {n}" for n in range(1, before + 1)}
            if name in kind.audience_entries:
                labels = {"": "Choose an audience"} | dict(self.keys[of])
            if labels and value not in labels:  # never quietly another one: an audience may be gone
                labels[value] = value
            choices = [
                Choice(option, label, option == value, takes.get(option, "") if name == "op" else "")
                for option, label in labels.items()
            ]
            label = labels_of_keys.get(name, name.capitalize())
            entry = self._entry(path, f"{prefix}{name}", value, choices, label=label, lines=lines)
            if name == "type" and value == AUTO and f"{path}.{prefix}".strip(".") not in self.undecided:
                entry = replace(entry, asked=False)
            entries[name] = entry
        return entries

    def _entry(
        self,
        path: str,
        name: str,
        value: str,
        choices: Sequence[Choice] = (),
        *,
        label: str = "",
        lines: bool = False,
    ) -> Entry:
        field_name = f"{draft_form.FIELD}.{_below(path, name)}"
        error = self.errors.get((path, name), "")
        return Entry(field_name, field_name.replace(".", "-"), value, choices, error, lines, label)


def _flat(entries: dict[str, Any]) -> Iterator[Entry]:
    """The entries, and those in the rows of lists."""
    for entry in entries.values():
        if isinstance(entry, Entry):
            yield entry
        elif isinstance(entry, list):
            for row in entry:
                yield from _flat(row)


def _below(path: str, more: str) -> str:
    return f"{path}.{more}" if path else more
