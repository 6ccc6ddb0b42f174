"""A status is its worst part; and what is compared are sets."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from destinations.models import Subscription
from destinations.rules import comparison
from destinations.rules.comparison import IN, MAYBE, OUT, KnownIdentifiers, KnownState, compare, next_call
from destinations.rules.status import ALARMED_AFTER, TONES, WORST_FIRST, SubscriptionFacts, status_of, worst

CALM = SubscriptionFacts(equal=True)


def test_every_status_has_its_place_and_its_tone():
    assert set(WORST_FIRST) == set(Subscription.Status.values) == set(TONES)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({}, "in_step"),
        ({"equal": False}, "syncing"),
        ({"sending": True}, "syncing"),
        ({"computed": False}, "waiting"),
        ({"unsettled": 2, "sending": True}, "waiting"),
        ({"due": True, "sending": True}, "retrying"),
        ({"failures": 1}, "retrying"),
        ({"failures": 3}, "failing"),
        ({"repeated": 3}, "differs"),
        ({"refused": 1, "due": True}, "refused"),
        ({"refused": 1, "sending": True, "equal": False}, "refused"),
        ({"refused": 1, "failures": 3}, "failing"),
        ({"stopped": "parked", "failures": 90, "refused": 1}, "parked"),
        ({"stopped": "suspended", "failures": 9}, "suspended"),
        ({"enabled": False, "stopped": "suspended", "refused": 4}, "disabled"),
    ],
)
def test_one_subscription_stands_by_the_worst_that_holds(facts, status):
    assert status_of(replace(CALM, **facts)) == status


ANY = st.builds(
    SubscriptionFacts,
    stopped=st.sampled_from(["", "parked", "suspended"]),
    failures=st.integers(0, 5),
    refused=st.integers(0, 2),
    due=st.booleans(),
    repeated=st.integers(0, 5),
    unsettled=st.integers(0, 2),
    sending=st.booleans(),
    equal=st.booleans(),
)


@given(ANY)
def test_in_step_is_only_what_was_compared_and_has_nothing_open(facts):
    calm = not (facts.stopped or facts.failures or facts.refused or facts.due or facts.unsettled or facts.sending)
    assert (status_of(facts) == "in_step") == (calm and facts.equal and facts.repeated < ALARMED_AFTER)


@given(ANY, ANY)
def test_more_trouble_never_looks_better(one, other):
    both = SubscriptionFacts(
        stopped=worst({one.stopped, other.stopped} - {""}),
        failures=max(one.failures, other.failures),
        refused=one.refused + other.refused,
        due=one.due or other.due,
        repeated=max(one.repeated, other.repeated),
        unsettled=one.unsettled + other.unsettled,
        sending=one.sending or other.sending,
        equal=one.equal and other.equal,
    )
    assert status_of(both) == worst([status_of(one), status_of(other)])


def test_several_stand_like_the_worst_of_them_and_what_is_off_says_nothing():
    assert worst([]) == ""
    assert worst(["in_step", "disabled"]) == "in_step"
    assert worst(["disabled"]) == "disabled"
    assert worst(["in_step", "refused", "syncing"]) == "refused"


ROWS = st.dictionaries(
    st.integers(1, 12),
    st.tuples(st.sampled_from([OUT, IN, MAYBE]), st.booleans(), st.sampled_from(["", "due", "refused"]), st.booleans()),
)


@given(st.sets(st.integers(1, 12)), ROWS)
def test_what_is_overlooked_is_what_differs_and_would_be_said_if_only_somebody_looked(desired, rows):
    kinds = [
        KnownIdentifiers(
            state, entering, care == "due", care == "refused", BitMap(n for n, row in rows.items() if row[:3] == key)
        )
        for key in product([OUT, IN, MAYBE], [True, False], ["", "due", "refused"])
        for state, entering, care in [key]
    ]
    outdated = BitMap(number for number, row in rows.items() if row[3])
    found = compare(BitMap(desired), kinds, outdated)
    overlooked = set()
    for number in desired | rows.keys():
        state, entering, care, old = rows.get(number, (OUT, False, "", False))
        wanted = number in desired
        known = KnownState(state, entering, 1, care == "due") if number in rows else None
        call = next_call(known, wanted, due_now=False, outdated=old)
        if call and not (care == "refused" and entering == wanted):
            overlooked.add(number)
    assert set(found.overlooked) == overlooked
    inside = {number for number, row in rows.items() if row[0] == IN and not (row[3] and number in desired)}
    assert (found.desired, found.acknowledged) == (len(desired), len(inside))
    assert not found.equal or inside == desired


def test_comparing_takes_a_small_part_of_the_time():
    assert comparison.pause(1_000).total_seconds() == 0
    assert comparison.pause(200_000).total_seconds() == 10


def test_the_same_numbers_have_the_same_fingerprint_however_they_came():
    one, other = BitMap(range(1000)), BitMap(reversed(range(1000)))
    assert comparison.fingerprint(one) == comparison.fingerprint(other) != comparison.fingerprint(BitMap([1]))
    assert comparison.fingerprint(BitMap()) == ""
