"""The rules, applied event by event, end where the slow reference resolver ends."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from identity.rules.decision import Candidate, MergeProfiles, RefuseEvent, decide
from identity.rules.extract import identifiers
from identity.rules.policy import DAY_MS, DEFAULT_POLICY, Definition, Limit, Policy
from tests.reference.resolver import Fed, Reference


@dataclass
class Store:
    """The smallest engine there can be: a dict of profiles, and `decide` for each event."""

    policy: Policy
    profiles: dict[int, Candidate] = field(default_factory=dict)
    messages: dict[int, set] = field(default_factory=dict)
    decisions: list = field(default_factory=list)

    def feed(self, fed: Fed):
        found = identifiers(fed.message, self.policy)
        self.resolve(found.user, fed)
        if found.account:
            self.resolve([found.account], fed)

    def resolve(self, on_event, fed):
        candidates = [each for each in self.profiles.values() if any(one in each.identifiers for one in on_event)]
        decision = decide(on_event, candidates, at=fed.at, policy=self.policy)
        self.decisions.append(decision)
        if isinstance(decision, RefuseEvent):
            return
        number = decision.profile or len(self.decisions)
        parts = [self.profiles.pop(each) for each in (number, *decision.merged) if each in self.profiles]
        held = {one: at for part in parts for one, at in part.identifiers.items()}
        held |= dict.fromkeys(decision.new, fed.at)
        merges = sum(part.merges for part in parts) + len(decision.merged)
        self.profiles[number] = Candidate(number, held, merges)
        joined = [self.messages.pop(each, set()) for each in (number, *decision.merged)]
        self.messages[number] = set().union({fed.message_id}, *joined)

    def graph(self):
        return {number: (dict(each.identifiers), each.merges) for number, each in self.profiles.items()}

    def as_sets(self):
        return {
            (frozenset(each.identifiers), frozenset(self.messages[each.profile])) for each in self.profiles.values()
        }


def reference_sets(reference):
    return {(each.identifiers, each.messages) for each in [*reference.profiles(), *reference.accounts()]}


def few(prefix, count):
    return st.none() | st.sampled_from([f"{prefix}{number}" for number in range(count)])


def without_nothing(**parts):
    return st.builds(lambda **values: {k: v for k, v in values.items() if v is not None}, **parts)


messages = without_nothing(
    type=st.sampled_from(["track", "identify", "group"]),
    userId=few("u", 4) | st.just("null"),
    anonymousId=few("a", 7),
    groupId=few("g", 2),
    traits=st.none() | without_nothing(email=few("E@", 4), crm=few("c", 3), plan=few("p", 3)),
    properties=st.none() | without_nothing(email=few("e@", 4), crmId=few("c", 3)),
    context=st.none()
    | st.builds(
        lambda system, id: {"device": {"type": system, "id": id}}, st.sampled_from(["ios", "Android"]), few("d", 3)
    ),
)
times = st.integers(0, 12).map(lambda half_days: half_days * DAY_MS // 2) | st.integers(0, 400 * DAY_MS)
streams = st.lists(st.tuples(messages, times), max_size=25).map(
    lambda pairs: [Fed(message, f"m{number}", at, (1, number)) for number, (message, at) in enumerate(pairs)]
)
limits = st.builds(Limit, st.integers(1, 3), st.sampled_from(["daily", "weekly", "monthly", "annually", "ever"]))
types = ["user_id", "email", "anonymous_id", "ios.id", "android.id", "crm", "crm_id", "group_id"]
policies = st.just(DEFAULT_POLICY) | st.builds(
    lambda order, each, merges, mappings: Policy(tuple(map(Definition, order, each)), merges, mappings),
    st.permutations(types),
    st.lists(limits, min_size=len(types), max_size=len(types)),
    st.sampled_from([0, 1, 2, 100]),
    st.sampled_from([1, 2, 4, 1000]),
)


def fed_to_a_store(policy, stream):
    store = Store(policy)
    for fed in stream:
        store.feed(fed)
    return store


@settings(max_examples=400, deadline=None)
@given(policies, streams)
def test_rules_and_reference_end_with_the_same_profiles(policy, stream):
    reference = Reference(policy.to_json())
    for fed in stream:
        reference.feed(fed)
    assert fed_to_a_store(policy, stream).as_sets() == reference_sets(reference)


@settings(max_examples=200, deadline=None)
@given(policies, streams, times)
def test_a_repeat_of_a_fully_accepted_set_never_changes_the_graph(policy, stream, at):
    store = fed_to_a_store(policy, stream)
    accepted = [each.accepted for each in store.decisions if each.accepted and not each.dropped]
    before = store.graph()
    for on_event in accepted:
        store.resolve(on_event, Fed({}, "again", at))
        assert (store.decisions[-1].new, store.decisions[-1].dropped) == ((), ())
    assert store.graph() == before


@settings(max_examples=200, deadline=None)
@given(policies, streams, st.randoms(use_true_random=False), messages, times)
def test_neither_the_order_of_identifiers_nor_of_candidates_matters(policy, stream, random, message, at):
    candidates = list(fed_to_a_store(policy, stream).profiles.values())
    on_event = list(identifiers(message, policy).user)
    decision = decide(on_event, candidates, at=at, policy=policy)
    for _ in range(3):
        random.shuffle(on_event)
        random.shuffle(candidates)
        assert decide(on_event * 2, candidates, at=at, policy=policy) == decision


@settings(max_examples=200, deadline=None)
@given(policies, streams)
def test_a_decision_accounts_for_every_identifier_and_the_oldest_survives(policy, stream):
    store = Store(policy)
    for fed in stream:
        before = {one: number for number, each in store.profiles.items() for one in each.identifiers}
        store.resolve(found := identifiers(fed.message, policy).user, fed)
        decision = store.decisions[-1]
        assert sorted([*decision.accepted, *(each.identifier for each in decision.dropped)]) == sorted(found)
        assert decision.new == tuple(one for one in decision.accepted if one not in before)
        holders = {before[one] for one in decision.accepted if one in before}
        assert {decision.profile, *decision.merged} - {None} == holders
        if isinstance(decision, MergeProfiles):
            assert (decision.profile, *decision.merged) == tuple(sorted(holders))


# the reference itself


def feed_all(*messages, policy=DEFAULT_POLICY):
    reference = Reference(policy.to_json())
    for number, (at, message) in enumerate(messages):
        reference.feed(Fed(message, f"m{number}", at, (1, number)))
    return reference


def identify(at, traits, **ids):
    return at, {"type": "identify", "traits": traits, **ids}


def test_a_late_old_trait_never_overwrites_a_newer_one():
    reference = feed_all(identify(5, {"plan": "new"}, userId="u1"), identify(3, {"plan": "old", "x": 1}, userId="u1"))
    assert reference.profile_of("m1").traits == {"plan": "new", "x": 1}


def test_null_removes_a_trait_and_an_older_value_does_not_bring_it_back():
    reference = feed_all(identify(5, {"plan": None}, userId="u1"), identify(3, {"plan": "old"}, userId="u1"))
    assert reference.profile_of("m0").traits == {}


def test_at_equal_times_the_later_place_in_the_log_wins():
    reference = Reference(DEFAULT_POLICY.to_json())
    for place, value in [(2, "later"), (1, "earlier")]:
        reference.feed(Fed({"type": "identify", "userId": "u1", "traits": {"x": value}}, value, 7, (1, place)))
    assert reference.profiles()[0].traits == {"x": "later"}


def test_a_merge_keeps_the_newest_of_each_trait_and_all_messages():
    reference = feed_all(
        identify(5, {"x": "a"}, anonymousId="a1"),
        identify(4, {"x": "u", "y": 1}, userId="u1"),
        (6, {"type": "track", "userId": "u1", "anonymousId": "a1"}),
    )
    (person,) = reference.profiles()
    assert person.traits == {"x": "a", "y": 1}
    assert person.messages == {"m0", "m1", "m2"}
    assert reference.profile_of("m1") == person


def test_group_calls_make_accounts_and_links():
    reference = feed_all(
        (1, {"type": "group", "groupId": "g1", "userId": "u1", "traits": {"name": "Acme", "email": "office@x"}}),
        (2, {"type": "group", "groupId": "g2", "anonymousId": "a1"}),
        (3, {"type": "track", "userId": "u1", "anonymousId": "a1"}),
    )
    (person,) = reference.profiles()
    assert person.identifiers == {("user_id", "u1"), ("anonymous_id", "a1")}
    assert reference.links() == {(person.identifiers, "g1"), (person.identifiers, "g2")}
    assert reference.account_of("m0").traits == {"name": "Acme", "email": "office@x"}
    assert reference.account_of("m2") is None
    assert len(reference.accounts()) == 2


def test_a_message_without_usable_identifiers_belongs_to_nobody():
    reference = feed_all((1, {"type": "track", "userId": "null"}))
    assert (reference.profile_of("m0"), reference.profiles()) == (None, [])


def test_the_reference_leaves_a_shared_browser_with_the_first_person():
    reference = feed_all(
        (1, {"userId": "u1", "anonymousId": "a1"}),
        (2, {"anonymousId": "a1"}),
        (3, {"userId": "u2", "anonymousId": "a1"}),
    )
    assert [each.identifiers for each in reference.profiles()] == [
        {("user_id", "u1"), ("anonymous_id", "a1")},
        {("user_id", "u2")},
    ]
