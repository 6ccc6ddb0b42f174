"""Other rules for a space: a dry run says what they would come to, and what is applied is what it said."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from identity import dry_runs, services
from identity.rules.policy import DEFAULT_POLICY, Blocked, Definition, Policy
from spaces.clock import FixedClock
from tests.factories_identity import NOON, as_sets, at_ms, links, people, recorded, resolved, stage
from tests.flows.test_resolve_properties import TYPES, limits, times, values
from tests.flows.test_splits import Stream, by_clickhouse, by_postgresql
from tests.reference.resolver import Fed, Reference

pytestmark = pytest.mark.django_db

# Group calls name somebody by all rules: one that named its account alone stays the account's.
person_fields = st.fixed_dictionaries(
    {},
    optional={
        "userId": st.sampled_from(["u1", "u2", "u3", "null"]),
        "anonymousId": st.sampled_from([f"a{n}" for n in range(6)]),
        "traits": st.dictionaries(st.sampled_from(["plan", "city", "crm"]), values, max_size=2),
        "properties": st.sampled_from([{"email": "E@x.org"}, {"email": "f@x.org"}, {"crm": "c1"}, {"crm": "c2"}]),
    },
)
member_fields = st.fixed_dictionaries(
    {"userId": st.sampled_from(["u2", "u3"])}, optional={"groupId": st.sampled_from(["g1", "g2"])}
)
events = st.lists(
    st.tuples(st.sampled_from(["track", "identify"]), times, person_fields, st.integers(0, 1))
    | st.tuples(st.just("group"), times, member_fields, st.integers(0, 1)),
    max_size=18,
)
blocked = st.sampled_from([Blocked(), Blocked(("null", "u1", "a1", "e@x.org"), ("^c2$",))])
policies = st.just(DEFAULT_POLICY) | st.builds(
    lambda order, each, blocks, merges, mappings: Policy(
        (
            *(Definition(type, limit, block) for type, limit, block in zip(order, each, blocks, strict=True)),
            Definition("group_id"),
        ),
        merges,
        mappings,
    ),
    st.permutations([type for type in TYPES if type != "group_id"]),
    st.lists(limits, min_size=4, max_size=4),
    st.lists(blocked, min_size=4, max_size=4),
    st.sampled_from([0, 1, 100]),
    st.sampled_from([2, 4, 1000]),
)
quick = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def tried(space, policy):
    dry_run = services.try_rules(space, policy)
    assert dry_runs.run(dry_run.pk, FixedClock(NOON))
    dry_run.refresh_from_db()
    assert (dry_run.state, dry_run.error) == ("done", "")
    return dry_run


def applied(dry_run):
    services.apply_rules(dry_run)
    assert dry_runs.run(dry_run.pk, FixedClock(NOON))
    resolved(dry_run.space, stage(live_rows=5))
    dry_run.refresh_from_db()
    assert (dry_run.state, dry_run.error) == ("applied", "")


def sets_of(profiles):
    return [profile.identifiers for profile in profiles]


def expected_figures(before, after):
    """From who is who by the slow resolver, under the old rules and under the new ones."""
    old, new = sets_of(before), sets_of(after)
    homes = [[one for one in new if own & one] for own in old]
    taken = [one for own in homes for one in own]
    everybody = frozenset().union(*old)
    same = {(profile.identifiers, profile.messages) for profile in after}
    return {
        "before": len(old),
        "after": len(new),
        "unchanged": sum((profile.identifiers, profile.messages) in same for profile in before),
        "merged": sum(any(taken.count(one) > 1 for one in own) for own in homes),
        "split": sum(len(own) > 1 for own in homes),
        "gone": sum(not own for own in homes),
        "new": sum(not (one & everybody) for one in new),
    }


def slow(stream, policy):
    """The slow resolver, with the events in the order of their first resolve; those that nobody had at the end."""
    reference = Reference(policy.to_json())
    rest = [(at_ms(one), key[0], piece, key) for key, (piece, one) in stream.sent.items() if key not in stream.order]
    for key in [*stream.order, *(key for *_, key in sorted(rest))]:
        piece, one = stream.sent[key]
        reference.feed(Fed(one, key[1], at_ms(one), (key[0], piece, 0)))
    return reference


class Tried(Stream):
    def notes(self):
        """In which order events came to somebody since."""
        self.order += [key for row in recorded(self.space) if (key := (row.source, row.message_id)) not in self.order]

    def becomes(self, policy):
        """Its people by the slow resolver under other rules, as sets."""
        reference = slow(self, policy)
        return as_sets(reference.profiles()), reference.links()


@quick
@given(policies, policies, events)
def test_figures_are_those_of_the_slow_resolver_under_the_new_rules(old, new, stream):
    space = Tried(old)
    space.send(stream)
    graph = people(space.space), links(space.space), by_postgresql(space.space)
    result = tried(space.space, new).result
    expected = expected_figures(slow(space, old).profiles(), slow(space, new).profiles())
    assert {name: result[name] for name in expected} == expected
    assert (people(space.space), links(space.space), by_postgresql(space.space)) == graph


@quick
@given(policies, policies, events, events)
def test_applied_rules_end_where_the_slow_resolver_ends_under_them(old, new, before, after):
    space = Tried(old)
    space.send(before)
    applied(tried(space.space, new))
    space.notes()
    assert (people(space.space), links(space.space)) == space.becomes(new)
    assert by_clickhouse(space.space) == by_postgresql(space.space)
    space.send(after)
    assert (people(space.space), links(space.space)) == space.becomes(new)
    # And nothing is left to be applied.
    assert tried(space.space, new).result["toMove"] == 0
