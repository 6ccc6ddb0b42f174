"""Definitions of versions as trees, with what a tick asks of each. A version's never changes, so it is remembered."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from audiences import queries
from audiences.models import Version, newest_traits, sources_named
from audiences.recent import Recent
from audiences.rules.aggregates import EVENTS, TimeTrigger
from audiences.rules.grammar import Node, conditions
from audiences.rules.grammar import audiences as keys_of
from audiences.rules.grammar import change_keys as change_keys_of
from audiences.rules.grammar import memberships as memberships_of
from audiences.rules.grammar import reach as reach_of
from audiences.rules.grammar import sources as sources_of
from audiences.rules.grammar import traits as traits_of
from audiences.rules.references import PastMembership
from audiences.rules.validation import DefinitionError
from identity.models import ChangeSet

MOST_REMEMBERED = 20_000  # conditions
Bound = tuple[int, datetime | None]  # a version of a computed trait, and since when events count for it


@dataclass(frozen=True)
class ParsedDefinition:
    """keys: of the change sets that may concern it. triggers: by the key of those that bring new moments.
    asks: keys of audiences. traits: which computed traits it asks about, as computed by what. sources: those that it
    names, by their slugs. memberships: past ones that it asks about. reach: how far away those are on whom an answer
    depends (`grammar.reach`)."""

    node: Node
    keys: frozenset[str]
    triggers: Mapping[str, tuple[TimeTrigger, ...]]
    asks: frozenset[str]
    traits: Mapping[str, Bound | None]
    sources: Mapping[str, int | None]
    memberships: frozenset[PastMembership]
    reach: int


_recent: Recent[tuple[int, datetime | None], ParsedDefinition] = Recent(
    MOST_REMEMBERED, lambda definition: sum(1 for _ in conditions(definition.node))
)


def read(
    space: int, begins: Mapping[int, datetime | None]
) -> dict[int, ParsedDefinition | DefinitionError | queries.Unanswerable]:
    """Of these versions of the space, by their primary keys: what is asked for, or why nobody can tell. Of those that
    are not there any more nothing.

    begins: since when events count for each; None = ever.
    """
    newest = {key: (pk, since) for key, pk, since in newest_traits(space).values_list(*_BOUND)}
    known: dict[int, ParsedDefinition | DefinitionError | queries.Unanswerable] = {}
    remembered = {pk: definition for pk, since in begins.items() if (definition := _recent.get((pk, since)))}
    slugs = frozenset[str]().union(*(definition.sources for definition in remembered.values()))
    sources = sources_named(space, slugs)
    # A version never changes, but what it names may: a computed trait gets another definition, a source another key.
    known |= {
        pk: definition
        for pk, definition in remembered.items()
        if all(newest.get(key) == bound for key, bound in definition.traits.items())
        and all(sources.get(slug) == number for slug, number in definition.sources.items())
    }
    missing = Version.objects.filter(pk__in=begins.keys() - known.keys()).select_related("audience")
    for version in missing.defer("snapshot", "computed"):
        # Where the clock was put back, another moment than the one that is kept.
        since = version.audience.events_since = begins[version.pk]
        try:
            # Whatever a condition of this release raises is that one version's trouble.
            with queries.answering():
                known[version.pk] = definition = _definition(version, newest)
        except (DefinitionError, queries.Unanswerable) as error:
            known[version.pk] = error
            continue
        _recent.put((version.pk, since), definition)
    return known


_BOUND = ("audience__key", "pk", "audience__events_since")


def _definition(version: Version, newest: Mapping[str, Bound]) -> ParsedDefinition:
    node = version.node
    slugs = sources_of(node)
    reach = reach_of(node, version.audience.of)
    # A merge brings events of another profile along, a new identifier makes an anonymous person one that counts.
    always = {ChangeSet.CREATED, ChangeSet.MERGED, ChangeSet.IDENTIFIED, ChangeSet.ERASED}
    always |= {ChangeSet.LINKED} if reach else set()
    triggers = dict.fromkeys(trigger for condition in conditions(node) for trigger in condition.time_triggers())
    by_key: dict[str, tuple[TimeTrigger, ...]] = {}
    for trigger in triggers:
        key = change_key(trigger)
        by_key[key] = (*by_key.get(key, ()), trigger)
    return ParsedDefinition(
        node=node,
        keys=frozenset({*always, *map(_key, change_keys_of(node))}),
        triggers=by_key,
        asks=keys_of(node),
        traits={key: newest.get(key) for key in traits_of(node)},
        sources=dict.fromkeys(slugs) | sources_named(version.audience.space_id, slugs),
        memberships=memberships_of(node),
        reach=reach,
    )


def change_key(trigger: TimeTrigger) -> str:
    """The key of the change sets that bring new moments."""
    return (ChangeSet.event if trigger.relation == EVENTS else ChangeSet.trait)(trigger.name)


def _key(key: str) -> str:
    """As resolve writes it (identity.models.ChangeSet): long names are cut."""
    kind, _, name = key.partition(":")
    return {"event": ChangeSet.event, "trait": ChangeSet.trait}.get(kind, lambda _: key)(name)
