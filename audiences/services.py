"""Everything that changes audiences, and the preview, which changes nothing. Each change leaves an audit entry."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import F, Q, QuerySet
from pyroaring import BitMap

from access.services import ActorLike, NotPossible, actor_of, audit
from audiences import queries, trait_values
from audiences.cases import KeptCase, refuse_broken, why_none
from audiences.models import Audience, ComputedTrait, Version, bound
from audiences.rules import grammar
from audiences.rules.cases import MOST_CASES, DefinitionCase
from audiences.rules.compiler import Asked
from audiences.rules.folders import tidied_folder
from audiences.rules.grammar import USERS, Node
from audiences.rules.labels import tidied
from audiences.rules.operators import quoted
from audiences.rules.validation import LONGEST_NAME, DefinitionError
from sources.models import Source
from spaces import deletions
from spaces.ids import new_id
from spaces.models import Deletion, Space
from spaces.text import latin
from spaces.times import milliseconds

KEY = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
LONGEST_MADE_KEY = 60
LONGEST_TITLE = 255  # of the name of an audience
COPY = " copy"
CASE = "cas"  # what the id of a test case begins with
MOST_STEPS = 20  # rows that a preview counts one by one
WITHOUT_LETTERS = "audience"  # what the key of a name that has no Latin letter begins with


Computation = TypeVar("Computation", bound=Audience)


class KeyRefused(ValueError):
    """A key that this audience cannot have. The message is for the user."""


@dataclass(frozen=True)
class CountedStep:
    """A row of a definition: how many it means on its own, and how many are left with those before it."""

    path: str
    size: int
    left: int


@dataclass(frozen=True)
class Preview:
    """Whom a definition means at `as_of`, exactly. steps: its rows, if there are several and not too many."""

    members: BitMap
    as_of: datetime
    sentence: str
    milliseconds: float
    steps: Sequence[CountedStep] = ()


@dataclass(frozen=True)
class TraitPreview:
    """The values that a computed trait has at `as_of`, exactly, as JSON text by profile number."""

    values: Mapping[int, str]
    as_of: datetime
    sentence: str
    milliseconds: float


@dataclass(frozen=True)
class Beginnings:
    """With whom an audience begins: when all of history counts, and when only events from its creation on do."""

    with_history: Preview
    from_now_on: Preview

    @property
    def differ(self) -> bool:
        """Whether it asks about events at all; the number may be the same by chance."""
        return self.from_now_on is not self.with_history


def preview(
    space: Space,
    definition: Any,
    *,
    of: str = USERS,
    include_anonymous: bool,
    now: datetime,
    events_since: datetime | None = None,
) -> Preview:
    """Who would be in the audience. of: whom it is about. events_since: no event up to here counts; None = all of
    history does.

    Raises DefinitionError, queries.NotComputed and queries.Unanswerable.
    """
    node = grammar.parse(definition)
    _refuse_unknown(space, node, of)
    # Bound after it was looked at: the sentence is made of the definition as it is written.
    asked = bound(space.pk, node)
    asked = asked if events_since is None else grammar.beginning(asked, milliseconds(events_since))
    rows = (
        asked.nodes if isinstance(asked, grammar.Group) and not asked.of and 1 < len(asked.nodes) <= MOST_STEPS else ()
    )
    begun = time.perf_counter()
    matched = queries.matching(space, asked, include_anonymous=include_anonymous, of=of, now=now, parts=rows)
    took = (time.perf_counter() - begun) * 1000
    sentence = grammar.sentence(node, of=of, include_anonymous=include_anonymous, since=events_since)
    steps: list[CountedStep] = []
    left: BitMap | None = None
    word = asked.word if isinstance(asked, grammar.Group) else ""
    for place, row in enumerate(matched.rows):
        left = row if left is None else left & row if word == "all" else left | row
        steps.append(CountedStep(f"{word}[{place}]", len(row), len(left)))
    return Preview(matched.members, matched.as_of, sentence, took, steps)


def preview_trait(
    space: Space,
    definition: Any,
    *,
    of: str = USERS,
    include_anonymous: bool,
    now: datetime,
    events_since: datetime | None = None,
) -> TraitPreview:
    """Who would have which value. Raises DefinitionError and queries.Unanswerable."""
    leaf = grammar.parse_trait(definition)
    _refuse_unknown(space, leaf, of)
    node = bound(space.pk, leaf)
    node = node if events_since is None else grammar.beginning(node, milliseconds(events_since))
    begun = time.perf_counter()
    scope = queries.scope_of(space, queries.resolved(space), now)
    (values,) = trait_values.computed(scope, [Asked("", node, include_anonymous, of)])
    took = (time.perf_counter() - begun) * 1000
    return TraitPreview(values, now, grammar.trait_sentence(leaf, of=of, since=events_since), took)


def beginnings(space: Space, definition: Any, *, of: str = USERS, include_anonymous: bool, now: datetime) -> Beginnings:
    """Who would be in the audience if it were created now, in both ways. Raises what `preview` raises."""
    with_history = preview(space, definition, of=of, include_anonymous=include_anonymous, now=now)
    node = grammar.parse(definition)
    # Nothing in it asks about events: both ways are one, and one query is enough.
    if grammar.beginning(node, milliseconds(now)) == node:
        return Beginnings(with_history, with_history)
    from_now_on = preview(space, definition, of=of, include_anonymous=include_anonymous, now=now, events_since=now)
    return Beginnings(with_history, from_now_on)


def create_audience(space: Space, *, definition: Any, by: ActorLike, **described: Any) -> Audience:
    """A new audience, which is computed soon. described: see `_create`.

    Raises KeyRefused, LabelRefused, FolderRefused, and DefinitionError, also for an audience or a computed trait that
    it asks about and that is not there.
    """
    return _create(Audience(kind=Audience.Kind.AUDIENCE), space, grammar.parse(definition), by=by, **described)


def create_trait(space: Space, *, definition: Any, by: ActorLike, **described: Any) -> ComputedTrait:
    """A new computed trait, whose values are computed soon. Raises KeyRefused, LabelRefused and DefinitionError."""
    trait = ComputedTrait(kind=Audience.Kind.TRAIT, public_id=new_id("tra"))
    return _create(trait, space, grammar.parse_trait(definition), by=by, **described)


def _create(
    computation: Computation,
    space: Space,
    node: Node,
    *,
    name: str,
    description: str = "",
    labels: Sequence[str] = (),
    of: str = USERS,
    folder: str = "",
    cases: Sequence[dict[str, Any]] = (),
    include_anonymous: bool = False,
    events_since: datetime | None = None,
    key: str | None = None,
    by: ActorLike,
) -> Computation:
    """Its key is made of its name unless one is given, and never changes.

    of: whom it is about. cases: test cases, as the one that it is a copy of has them. events_since: no event up to here
    counts; None = all of history does. Whom it is about and what counts cannot be changed later.
    """
    with _locked(space):
        _refuse_unknown(space, node, of)
        computation.of = of
        computation.workspace_id, computation.space = space.workspace_id, space
        computation.name, computation.description, computation.labels = name, description, tidied(labels)
        computation.key = key_for(space, name) if key is None else _checked_key(space, key)
        computation.include_anonymous = include_anonymous and of == USERS  # all users of an account count
        computation.events_since = events_since
        computation.folder = tidied_folder(folder)
        # With ids of their own: a case of the copy is another one than that of the original.
        computation.cases = [case | {"id": new_id(CASE)} for case in cases]
        computation.created_by = actor_of(by).user
        computation.save()
        _begin(computation, grammar.to_json(node))
        what = f"{computation.kind}.created"
        audit(by, what, computation, name=name, key=computation.key, definition=grammar.to_json(node))
    return computation


def change_audience(
    audience: Audience,
    *,
    name: str | None = None,
    description: str | None = None,
    labels: Sequence[str] | None = None,
    folder: str | None = None,
    enabled: bool | None = None,
    definition: Any = None,
    restored: int | None = None,
    despite_cases: bool = False,
    by: ActorLike,
) -> None:
    """What is given is changed. Who is in it stays until a new definition is computed.

    An audience that is switched on again is computed anew. restored: the number of the version whose definition it
    is, for the audit trail. despite_cases: on purpose, whatever becomes of its test cases. Raises BrokenCases;
    DefinitionError, also for a definition that would make it a part of itself; LabelRefused, FolderRefused; and
    NotPossible when it was deleted meanwhile.
    """
    is_trait = audience.kind == Audience.Kind.TRAIT
    node = None if definition is None else (grammar.parse_trait if is_trait else grammar.parse)(definition)
    tidy = None if labels is None else tidied(labels)
    kept_in = None if folder is None else tidied_folder(folder)
    given: dict[str, Any] = {"name": name, "description": description, "labels": tidy, "folder": kept_in}
    given["enabled"] = enabled
    changes = {field: value for field, value in given.items() if value is not None}
    if node is not None and not despite_cases:
        # Before the space is locked: a statement may take its time.
        refuse_broken(audience, definition)
    with _locked(audience.space):
        _refuse_deleted(audience)
        if node is not None:
            _refuse_unknown(audience.space, node, audience.of)
            _refuse_cycle(audience, node)
        # Under the lock: whoever saved a moment ago has made another version the newest.
        newest = audience.versions.defer("snapshot", "computed").order_by("-number")[0]
        wakes = enabled is True and not audience.enabled
        for field, value in changes.items():
            setattr(audience, field, value)
        audience.save(update_fields=[*changes, "updated_at"])  # never its size: a tick may be writing that
        if node is not None:
            before, after = (json.dumps(value, sort_keys=True) for value in (newest.definition, grammar.to_json(node)))
            # As text: in Python 1 and true are equal. One that has failed is computed again, whatever it says.
            wakes = wakes or before != after or newest.state == Version.State.FAILED
        if wakes:
            _begin(audience, newest.definition if node is None else grammar.to_json(node))
            if is_trait:
                # Audiences that ask about it are computed anew.
                for version in _current(audience.space).select_related("audience"):
                    asked = grammar.asked_in(version.definition, Audience.Kind.TRAIT)
                    if version.audience.enabled and audience.key in asked:
                        _begin(version.audience, version.definition)
        detail: dict[str, Any] = changes if node is None else changes | {"definition": grammar.to_json(node)}
        if restored is not None:
            detail = detail | {"restored": restored}
        if despite_cases and audience.cases:
            detail = detail | {"despiteCases": True}
        audit(by, f"{audience.kind}.changed", audience, **detail)


def duplicate(audience: Audience, *, name: str | None = None, key: str | None = None, by: ActorLike) -> Audience:
    """A copy of it is computed: with its newest definition, description and options, and sent nowhere.

    name, key: of the copy; by default they say that it is one. Raises what creating one raises.
    """
    named = {"name": name or copy_name(audience), "key": key}
    return copy_to(audience.space, audience, **named, events_since=audience.events_since, by=by)


def copy_to(space: Space, audience: Audience, *, by: ActorLike, **described: Any) -> Audience:
    """The space has a copy of it, which counts all of history unless it is `described` otherwise; see `_create`."""
    newest = audience.versions.defer("snapshot", "computed").order_by("-number")[0]
    create = create_trait if audience.kind == Audience.Kind.TRAIT else create_audience
    same = ("name", "key", "description", "labels", "of", "folder", "cases", "include_anonymous")
    described = {name: getattr(audience, name) for name in same} | described
    return create(space, definition=newest.definition, **described, by=by)


def copy_name(audience: Audience) -> str:
    """What a copy of it is called, unless somebody says otherwise."""
    return f"{audience.name[: LONGEST_TITLE - len(COPY)]}{COPY}"


def restore_version(version: Version, *, despite_cases: bool = False, by: ActorLike) -> None:
    """The newest version of its audience has the definition of this one. Raises what `change_audience` raises."""
    change_audience(
        version.audience,
        definition=version.definition,
        restored=version.number,
        despite_cases=despite_cases,
        by=by,
    )


def add_case(audience: Audience, case: DefinitionCase, *, by: ActorLike) -> KeptCase:
    """The case is the last one of the audience, whether it holds now or not. Raises NotPossible: there are too many, or
    none can be asked by its newest definition."""
    kept = KeptCase(new_id(CASE), case)
    if problem := why_none(audience):
        raise NotPossible(problem)
    with _cases_changed(audience, by, added=case.title):
        if len(audience.cases) >= MOST_CASES:
            raise NotPossible(f"There may be {MOST_CASES} test cases.")
        audience.cases = [*audience.cases, {"id": kept.id, **case.json()}]
    return kept


def change_case(audience: Audience, id: str, case: DefinitionCase, *, by: ActorLike) -> None:
    """The case with this id is this one. Raises NotPossible when it was removed meanwhile."""
    with _cases_changed(audience, by, changed=case.title):
        place = _place_of_case(audience, id)
        audience.cases = [*audience.cases[:place], {"id": id, **case.json()}, *audience.cases[place + 1 :]]


def remove_case(audience: Audience, id: str, *, by: ActorLike) -> None:
    with _cases_changed(audience, by, removed=id):
        place = _place_of_case(audience, id)
        audience.cases = [*audience.cases[:place], *audience.cases[place + 1 :]]


@contextmanager
def _cases_changed(audience: Audience, by: ActorLike, **what: str) -> Iterator[None]:
    """Inside, its cases are those that it has now, and nobody else changes them. Saved and audited."""
    with _locked(audience.space):
        _refuse_deleted(audience)
        audience.refresh_from_db(fields=["cases"])
        yield
        audience.save(update_fields=["cases", "updated_at"])
        audit(by, f"{audience.kind}.cases_changed", audience, **what)


def _place_of_case(audience: Audience, id: str) -> int:
    for place, row in enumerate(audience.cases):
        if row["id"] == id:
            return place
    raise NotPossible("This test case is not there any more.")


def end_audience(audience: Audience, *, now: datetime, by: ActorLike) -> None:
    """Everybody in it is sent out of the tools first; when they are, it is deleted (destinations.endings).

    Raises NotPossible while another audience asks about it; from now on none can.
    """
    with _locked(audience.space):
        _refuse_deleted(audience)
        _refuse_asked(audience)
        # Asked for twice, it goes on from when it was asked for first.
        if audience.ending_at is None:
            audience.ending_at = now
            audience.save(update_fields=["ending_at", "updated_at"])
            audit(by, f"{audience.kind}.ending", audience, name=audience.name, key=audience.key)


def delete_audience(audience: Audience, *, now: datetime, by: ActorLike) -> None:
    """It is gone, and nothing more is sent of it. Its key stays taken: who is in a tool by it, stays there.

    Raises NotPossible while another audience asks about it.
    """
    with _locked(audience.space):
        _refuse_deleted(audience)
        _refuse_asked(audience)
        audience.deleted_at = now
        audience.save(update_fields=["deleted_at", "updated_at"])
        # The row stays, for its key; what it had goes in the background, store by store.
        deletions.begin(audience, Deletion.TargetKind.AUDIENCE, name=audience.name)
        audit(by, f"{audience.kind}.deleted", audience, name=audience.name, key=audience.key)


def _refuse_asked(audience: Audience) -> None:
    if keys := [other.key for other in asking(audience)]:
        raise NotPossible(f"It is part of other audiences: {', '.join(keys)}. Change or delete them first.")


def asking(audience: Audience) -> list[Audience]:
    """The audiences that ask about it, by key."""
    keys = [key for key, asked in _asked(audience.space, audience.kind).items() if audience.key in asked]
    return list(Audience.objects.filter(space=audience.space_id, key__in=keys).order_by("key"))


@contextmanager
def _locked(space: Space) -> Iterator[None]:
    """One change of the space's audiences at a time: keys and the graph stay as they were looked at."""
    with transaction.atomic():
        Space.objects.select_for_update(no_key=True).get(pk=space.pk)  # no_key: a stage may go on adding rows to it
        yield


def _begin(audience: Audience, definition: Any) -> None:
    """A new version waits to be computed. What serves goes on until then; what was on its way is given up."""
    versions = Version.objects.filter(audience=audience)
    # No unique number is lost to a race: the space is locked (`_locked`).
    newest = versions.order_by("-number").values_list("number", flat=True).first() or 0
    pending = versions.filter(state__in=[Version.State.COMPUTING, Version.State.CATCHING_UP])
    pending = pending.exclude(audience__serving=F("pk"))  # one that serves goes on, also when it is behind
    pending.update(state=Version.State.REPLACED, snapshot=None, computed=None)
    Version.objects.create(
        workspace_id=audience.workspace_id, audience=audience, number=newest + 1, definition=definition
    )


def _refuse_deleted(audience: Audience) -> None:
    audience.refresh_from_db(fields=["enabled", "ending_at", "deleted_at"])
    if audience.deleted_at is not None:
        raise NotPossible(f"This {audience.get_kind_display().lower()} was deleted.")


def _refuse_unknown(space: Space, node: Node, of: str) -> None:
    grammar.check_of(node, of)
    for kind, manager in ((Audience.Kind.AUDIENCE, Audience.objects), (Audience.Kind.TRAIT, ComputedTrait.objects)):
        what = {"audience": "an audience", "trait": "a computed trait"}[kind]
        for path, key, whose in _named(node, kind, of):
            computation = manager.filter(space=space, key=key, deleted_at=None, ending_at=None).first()
            if computation is None:
                raise DefinitionError(path, f"must be about {what} of this space: there is no {quoted(key)}")
            if computation.of != whose:
                raise DefinitionError(
                    path, f"must be about {what} of {whose}: {quoted(key)} is one of {computation.of}"
                )
    if slugs := grammar.sources(node):
        known = Source.objects.filter(workspace=space.workspace_id, slug__in=slugs)
        grammar.check_sources(node, set(known.values_list("slug", flat=True)))


def _refuse_cycle(audience: Audience, node: Node) -> None:
    asked = _asked(audience.space, Audience.Kind.AUDIENCE) if grammar.audiences(node) else {}
    for path, key, _ in _named(node, Audience.Kind.AUDIENCE, audience.of):
        circle = _path_between(asked, key, audience.key)
        if circle:
            shown = " → ".join([audience.key, *circle])
            raise DefinitionError(path, f"must not make the audience a part of itself: {shown}")


def _named(node: Node, kind: str, of: str) -> Iterator[tuple[str, str, str]]:
    """Each audience or computed trait that it asks about: the path of the condition that does, the key, and whom that
    condition is about."""
    for path, condition, whose in grammar.about(node, of):
        for key in sorted(condition.traits() if kind == Audience.Kind.TRAIT else condition.audiences()):
            yield path, key, whose


def _current(space: Space) -> QuerySet[Version]:
    """Of each audience the version that serves, and the newest, which is to serve."""
    living = Version.objects.filter(audience__space=space, audience__deleted_at=None)
    newest = living.order_by("audience", "-number").distinct("audience").values("pk")
    return living.filter(Q(pk__in=newest) | Q(audience__serving=F("pk"))).defer("snapshot", "computed")


def _asked(space: Space, kind: str) -> dict[str, set[str]]:
    """Whom each audience asks about: other audiences, or computed traits."""
    asked: dict[str, set[str]] = defaultdict(set)
    for version in _current(space).select_related("audience"):
        asked[version.audience.key] |= grammar.asked_in(version.definition, kind)
    return asked


def _path_between(asked: Mapping[str, set[str]], start: str, goal: str) -> list[str]:
    """The keys from start to goal, each asking about the next; empty when none leads there."""
    # Breadth first, so that the shortest circle is shown to whoever is to break it.
    paths, seen = [[start]], {start}
    while paths:
        path = paths.pop(0)
        if path[-1] == goal:
            return path
        fresh = sorted(asked.get(path[-1], set()) - seen)
        seen.update(fresh)
        paths += [[*path, key] for key in fresh]
    return []


def key_for(space: Space, name: str) -> str:
    """The key that an audience of this name would get now: snake case, with a number when it has been given before."""
    stem = "_".join(re.findall(r"[a-z0-9]+", latin(name).lower()))[:LONGEST_MADE_KEY].strip("_")
    if not stem[:1].isalpha():
        stem = f"{WITHOUT_LETTERS}_{stem}".strip("_")
    # Also those of deleted ones: tools know people by the key, and another audience must not come by these.
    taken = set(Audience.everything.filter(space=space, key__startswith=stem).values_list("key", flat=True))
    return next(key for n in range(1, len(taken) + 2) if (key := stem if n == 1 else f"{stem}_{n}") not in taken)


def _checked_key(space: Space, key: str) -> str:
    if not KEY.fullmatch(key) or len(key) > LONGEST_NAME:
        raise KeyRefused("Must be lower-case letters, digits and underscores, a letter first, such as new_users_7days.")
    if Audience.everything.filter(space=space, key=key).exists():
        raise KeyRefused("Another audience or computed trait has or had this key. Keys are never given again.")
    return key
