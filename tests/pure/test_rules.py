"""Attach, create, merge, refuse: the worked examples and the edges of each rule (spec §5)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.rules.decision import AttachEvent, Candidate, CreateProfile, MergeProfiles, RefuseEvent, decide
from identity.rules.policy import (
    DAY_MS,
    DEFAULT_POLICY,
    Blocked,
    Definition,
    Limit,
    Policy,
    PolicyError,
    by_default_priority,
)

ABC123, ABC456, JANE = ("user_id", "abc123"), ("user_id", "abc456"), ("email", "jane@x.org")
U1, U2, A1 = ("user_id", "u1"), ("user_id", "u2"), ("anonymous_id", "a1")


def anons(*numbers):
    return [("anonymous_id", f"a{number}") for number in numbers]


def holds(profile, *identifiers, at=0, merges=0):
    return Candidate(profile, dict.fromkeys(identifiers, at), merges)


def run(identifiers, *candidates, at=0, policy=DEFAULT_POLICY):
    return decide(identifiers, candidates, at=at, policy=policy)


def left_out(decision):
    return [(each.identifier, each.broken_rule.why, each.broken_rule.type) for each in decision.dropped]


# the worked examples


def test_unknown_identifiers_make_a_profile():
    decision = run([U1, A1])
    assert decision == CreateProfile(accepted=(U1, A1), new=(U1, A1))


def test_one_holder_gains_the_new_identifiers():
    decision = run([U1, A1], holds(7, A1))
    assert decision == AttachEvent(7, (), accepted=(U1, A1), new=(U1,))


def test_two_holders_merge():
    assert run([U1, A1], holds(7, U1), holds(3, A1)) == MergeProfiles(3, (7,), accepted=(U1, A1))


def test_a_second_user_id_drops_the_email_and_makes_a_new_profile():
    decision = run([ABC456, JANE], holds(1, ABC123, JANE))
    assert isinstance(decision, CreateProfile)
    assert decision.new == (ABC456,)
    assert left_out(decision) == [(JANE, "value_limit", "user_id")]


def test_a_shared_browser_stays_with_the_first_person():
    first = holds(1, A1, U1)
    assert run([A1], first) == AttachEvent(1, (), accepted=(A1,))
    second = run([A1, U2], first)
    assert isinstance(second, CreateProfile)
    assert second.accepted == (U2,)
    assert left_out(second) == [(A1, "value_limit", "user_id")]
    assert run([A1, U2], first, holds(2, U2)) == AttachEvent(2, (), accepted=(U2,), dropped=second.dropped)


def test_an_event_without_identifiers_is_refused():
    decision = run([])
    assert isinstance(decision, RefuseEvent)
    assert (decision.profile, decision.reason) == (None, "no matching identifiers on event")


# oldest, order


def test_merge_keeps_the_oldest_profile_and_lists_the_others_oldest_first():
    decision = run([JANE, *anons(1, 2)], holds(9, JANE), holds(4, *anons(1)), holds(6, *anons(2)))
    assert (decision.profile, decision.merged) == (4, (6, 9))


def test_a_merge_may_bring_new_identifiers_too():
    decision = run([U1, JANE, A1], holds(2, JANE), holds(1, A1))
    assert (decision.profile, decision.merged, decision.new) == (1, (2,), (U1,))


def test_a_candidate_that_only_held_a_dropped_identifier_is_left_alone():
    decision = run([U2, JANE, A1], holds(1, U1, A1), holds(2, JANE))
    assert isinstance(decision, AttachEvent)
    assert (decision.profile, decision.new) == (2, (U2,))
    assert left_out(decision) == [(A1, "value_limit", "user_id")]


def test_the_least_trusted_is_dropped_whichever_type_broke_its_limit():
    full = holds(1, U1, *[("email", f"{number}@x") for number in range(5)])
    decision = run([U1, ("email", "6@x"), ("ios.id", "d")], full)
    assert isinstance(decision, AttachEvent)
    assert (decision.accepted, decision.new) == ((U1,), ())
    assert left_out(decision) == [(("ios.id", "d"), "value_limit", "email"), (("email", "6@x"), "value_limit", "email")]


def test_priority_ordered_by_hand_changes_what_is_dropped():
    by_hand = Policy((Definition("anonymous_id"), Definition("user_id", Limit(1))))
    decision = run([A1, U2], holds(1, A1, U1), policy=by_hand)
    assert isinstance(decision, AttachEvent)
    assert (decision.profile, decision.accepted) == (1, (A1,))


def test_the_rule_named_is_that_of_the_most_trusted_type():
    one = holds(1, U1, *anons(1, 2, 3))
    two = holds(2, U2, *anons(4, 5, 6))
    assert left_out(run(anons(1, 4), one, two))[0][2] == "user_id"


def test_a_type_without_a_rule_comes_last_and_may_have_five_values():
    odd = [("xid", str(number)) for number in range(6)]
    assert run([odd[0], U1]).accepted == (U1, odd[0])
    assert run([odd[5], U1], holds(1, U1, *odd[:5])).accepted == (U1,)
    assert run([odd[4], U1], holds(1, U1, *odd[:4])).new == (odd[4],)


# limits


def test_five_ever_is_five():
    assert run([U1, *anons(5)], holds(1, U1, *anons(1, 2, 3, 4))).new == tuple(anons(5))
    sixth = run([U1, *anons(6)], holds(1, U1, *anons(1, 2, 3, 4, 5)))
    assert (sixth.new, left_out(sixth)) == ((), [(("anonymous_id", "a6"), "value_limit", "anonymous_id")])


def test_limits_count_over_all_merged_profiles():
    assert isinstance(run([JANE, *anons(4)], holds(1, JANE, *anons(1, 2)), holds(2, *anons(3, 4, 5))), MergeProfiles)
    refused = run([JANE, *anons(4)], holds(1, JANE, *anons(1, 2, 3)), holds(2, *anons(4, 5, 6)))
    assert (refused.profile, refused.accepted) == (1, (JANE,))


def test_a_profile_over_a_tightened_limit_still_takes_events_and_other_types():
    blob = holds(1, U1, *anons(*range(8)))
    assert run([U1, *anons(3)], blob) == AttachEvent(1, (), accepted=(U1, *anons(3)))
    assert run([U1, JANE], blob).new == (JANE,)
    assert run([U1, JANE], blob, holds(2, JANE)) == MergeProfiles(1, (2,), accepted=(U1, JANE))
    assert run([U1, *anons(9)], blob).new == ()


def test_too_many_values_on_one_event_are_cut_from_the_end():
    decision = run(anons(*range(7)))
    assert (decision.accepted, len(decision.dropped)) == (tuple(anons(*range(5))), 2)


PERIODS = {"daily": 1, "weekly": 7, "monthly": 30, "annually": 365}


@pytest.mark.parametrize(("period", "days"), PERIODS.items())
def test_a_period_is_a_sliding_half_open_window_of_event_time(period, days):
    policy = Policy((Definition("user_id", Limit(1)), Definition("anonymous_id", Limit(2, period))))
    span = days * DAY_MS
    profile = Candidate(1, {U1: 0, anons(1)[0]: 1_000, anons(2)[0]: 1_000 + span // 2})
    inside = run([U1, *anons(3)], profile, at=999 + span, policy=policy)
    assert left_out(inside) == [(("anonymous_id", "a3"), "time_limit", "anonymous_id")]
    assert run([U1, *anons(3)], profile, at=1_000 + span, policy=policy).new == tuple(anons(3))


def test_a_late_event_counts_in_the_window_of_its_own_time():
    policy = Policy((Definition("user_id", Limit(1)), Definition("anonymous_id", Limit(1, "daily"))))
    profile = Candidate(1, {U1: 0, anons(1)[0]: 5 * DAY_MS})
    assert run([U1, *anons(2)], profile, at=3 * DAY_MS, policy=policy).new == tuple(anons(2))
    assert run([U1, *anons(2)], profile, at=4 * DAY_MS + 1, policy=policy).new == ()
    assert run([U1, *anons(2)], profile, at=6 * DAY_MS - 1, policy=policy).new == ()


def test_ever_is_longer_than_any_period():
    policy = Policy((Definition("user_id", Limit(1)), Definition("anonymous_id", Limit(1, "ever"))))
    assert run([U1, *anons(2)], holds(1, U1, *anons(1)), at=4_000 * DAY_MS, policy=policy).new == ()


# caps


def test_a_profile_takes_in_a_hundred_others_and_still_takes_events():
    email, other = holds(1, JANE, merges=60), holds(2, A1, merges=39)
    assert isinstance(run([JANE, A1], email, other), MergeProfiles)
    decision = run([JANE, A1], email, holds(2, A1, merges=40))
    assert (decision.profile, decision.merged, decision.accepted) == (1, (), (JANE,))
    assert left_out(decision) == [(A1, "merge_cap", None)]


def test_a_full_profile_takes_no_new_identifier_but_its_events():
    policy = Policy(DEFAULT_POLICY.identifiers, max_mappings=3)
    full = holds(1, U1, *anons(1, 2))
    assert run([U1, *anons(2)], full, policy=policy) == AttachEvent(1, (), accepted=(U1, *anons(2)))
    decision = run([U1, JANE], full, policy=policy)
    assert (decision.accepted, left_out(decision)) == ((U1,), [(JANE, "mapping_cap", None)])
    assert run([U1, JANE], full, holds(2, JANE), policy=policy).accepted == (U1,)
    assert isinstance(run([U1, JANE], holds(1, U1, A1), holds(2, JANE), policy=policy), MergeProfiles)


def test_a_profile_beyond_a_lowered_cap_still_takes_its_events():
    policy = Policy(DEFAULT_POLICY.identifiers, max_merges=1, max_mappings=2)
    assert run([U1, A1], holds(1, U1, A1, JANE, merges=5), policy=policy) == AttachEvent(1, (), accepted=(U1, A1))


def test_no_merges_at_all_can_be_asked_for():
    decision = run([U1, A1], holds(1, A1), holds(2, U1), policy=Policy(DEFAULT_POLICY.identifiers, max_merges=0))
    assert decision.profile == 2


# reasons


@pytest.mark.parametrize(
    ("decision", "reason"),
    [
        (run([U1]), "new profile with user_id u1"),
        (run([U1], holds(3, U1)), "attached to profile 3"),
        (run([U1, A1], holds(3, U1)), "attached to profile 3, adding anonymous_id a1"),
        (
            run([U1, JANE, A1], holds(3, U1), holds(5, A1)),
            "profile 3 takes in 5, joined by user_id u1, anonymous_id a1",
        ),
        (
            run([A1, U2], holds(1, A1, U1)),
            "new profile with user_id u2; anonymous_id a1 left out: user_id allows 1 ever",
        ),
        (
            run([U1, A1], holds(1, U1), policy=Policy(DEFAULT_POLICY.identifiers, max_mappings=1)),
            "attached to profile 1; anonymous_id a1 left out: a profile allows 1 identifiers",
        ),
        (
            run([U1, A1], holds(1, U1), holds(2, A1), policy=Policy(DEFAULT_POLICY.identifiers, max_merges=0)),
            "attached to profile 1; anonymous_id a1 left out: a profile allows 0 merges",
        ),
    ],
)
def test_every_decision_says_why(decision, reason):
    assert decision.reason == reason


@pytest.mark.parametrize(("period", "words"), [("weekly", "5 per week"), ("ever", "5 ever"), ("daily", "5 per day")])
def test_a_limit_reads_as_english(period, words):
    assert str(Limit(5, period)) == words


# the policy


def test_the_defaults_are_segments():
    assert [each.type for each in DEFAULT_POLICY.identifiers][:4] == ["user_id", "email", "android.id", "android.idfa"]
    assert len(DEFAULT_POLICY.identifiers) == 11
    assert {each.type: each.limit for each in DEFAULT_POLICY.identifiers if each.limit != Limit(5, "ever")} == {
        "user_id": Limit(1, "ever")
    }
    assert (DEFAULT_POLICY.max_merges, DEFAULT_POLICY.max_mappings) == (100, 1000)
    assert {"-1", "null", "anonymous"} <= set(DEFAULT_POLICY.identifiers[0].blocked.values)
    assert DEFAULT_POLICY.identifiers[0].blocked.patterns[0] == "^[0-]*$"


def test_default_priority_is_user_id_email_and_the_rest_alphabetical():
    named = by_default_priority(map(Definition, ["zeta", "email", "alpha", "user_id"]))
    assert [each.type for each in named] == ["user_id", "email", "alpha", "zeta"]


def test_a_policy_survives_json():
    policy = Policy((Definition("crm", Limit(2, "weekly"), Blocked(("x",), ("^a+$",))), Definition("email")), 7, 9)
    assert Policy.from_json(policy.to_json()) == policy
    assert hash(Policy.from_json(policy.to_json())) == hash(policy)
    assert Policy.from_json({"identifiers": [{"type": "crm"}]}) == Policy((Definition("crm"),))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (3, ""),
        ({}, ""),
        ({"identifiers": 1}, "identifiers"),
        ({"identifiers": [{"type": "a"}, {"limit": {}}]}, "identifiers[1]"),
        ({"identifiers": [{"type": "a", "limits": {}}]}, "identifiers[0]"),
        ({"identifiers": [{"type": "a", "limit": {"count": 0}}]}, "identifiers[0].limit.count"),
        ({"identifiers": [{"type": "a", "limit": {"count": True}}]}, "identifiers[0].limit.count"),
        ({"identifiers": [{"type": "a", "limit": {"count": "5"}}]}, "identifiers[0].limit.count"),
        ({"identifiers": [{"type": "a", "limit": {"period": "hourly"}}]}, "identifiers[0].limit.period"),
        ({"identifiers": [{"type": "a", "blocked": {"values": [1]}}]}, "identifiers[0].blocked.values[0]"),
        ({"identifiers": [{"type": "a", "blocked": {"patterns": ["a", "["]}}]}, "identifiers[0].blocked.patterns[1]"),
        ({"identifiers": [{"type": "a"}, {"type": "a"}]}, "identifiers[1].type"),
        ({"identifiers": [{"type": "Loyalty"}]}, "identifiers[0].type"),
        ({"identifiers": [{"type": "a_"}]}, "identifiers[0].type"),
        ({"identifiers": [{"type": "a" * 61}]}, "identifiers[0].type"),
        ({"identifiers": [], "max_merges": -1}, "max_merges"),
        ({"identifiers": [], "max_mappings": 0}, "max_mappings"),
    ],
)
def test_a_bad_policy_is_refused_with_the_path(value, path):
    with pytest.raises(PolicyError) as caught:
        Policy.from_json(value)
    assert caught.value.path == path
    assert caught.value.message


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"^[0-]*$", r"^test.*@(example|test)\.com$", r"\d+-\d+", r"[^]x]*", r"\\(a)\.", ""),
        r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        r"(?i)^guest-(\d+)(-(web|app))?$",
        "(a+)+$",
    ],
)
def test_ordinary_patterns_are_taken(pattern):
    Policy.from_json({"identifiers": [{"type": "a", "blocked": {"patterns": [pattern]}}]})


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(?=a)", "invalid perl operator"),
        (r"(a)\1", "invalid escape"),
        ("a" * 201, "longer than 200"),
        ("a{2000}", "repetition"),
        (r"(\pL{1,30}){1,30}", "too large"),
        (r"\pL{99}\pN{99}", "too much together"),
        ("(", "missing"),
    ],
)
def test_patterns_that_cannot_be_matched_in_time_are_refused(pattern, why):
    with pytest.raises(PolicyError, match=why) as caught:
        Policy.from_json({"identifiers": [{"type": "a", "blocked": {"patterns": ["x", pattern]}}]})
    assert caught.value.path == "identifiers[0].blocked.patterns[1]"


def test_the_patterns_of_a_space_together_are_bounded():
    many = {"patterns": [rf"^a{{{n}}}[bc]{{200}}$" for n in range(20)]}
    with pytest.raises(PolicyError, match="too much together"):
        Policy.from_json({"identifiers": [{"type": f"t{n}", "blocked": many} for n in range(3)]})


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["user_id", "ever"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["type", "limit", "count", "period", "blocked"]), inner)
    ),
    max_leaves=12,
)


@given(
    json | st.fixed_dictionaries({"identifiers": st.lists(json | st.fixed_dictionaries({"type": json}), max_size=3)})
)
def test_any_json_is_a_policy_or_a_policy_error(value):
    with suppress(PolicyError):
        policy = Policy.from_json(value)
        assert Policy.from_json(policy.to_json()) == policy
