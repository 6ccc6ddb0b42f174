"""The quickstart's comparisons let nothing pass, and say who is concerned."""

from dataclasses import replace

import pytest

from quickstart.checks import (
    Recorded,
    Seen,
    by_console,
    by_reference,
    compare_audience,
    compare_profiles,
    compare_timeline,
)
from quickstart.truth import Members

USER = frozenset({("user_id", "u1"), ("anonymous_id", "a1")})
CONTENT = {
    ("web", "m1"): {"type": "page", "anonymousId": "a1"},
    ("web", "m2"): {"type": "identify", "anonymousId": "a1", "userId": "u1"},
    ("app", "m1"): {"type": "track", "userId": "u2", "event": "Bought"},
}
RECORDED = [Recorded("web", "m1", "p1", 1), Recorded("web", "m2", "p1", 2), Recorded("app", "m1", "p2", 3)]


def sent(row):
    return CONTENT.get((row.origin, row.message_id))


IDENTIFIERS = {"p1": USER, "p2": frozenset({("user_id", "u2")})}


def members(*user_ids, unsure=()):
    return Members(frozenset(user_ids), frozenset(user_ids) | frozenset(unsure))


SEEN = Seen(2, frozenset("a"), members("a", "b"), frozenset("ab"), members("a", "b"), frozenset("ab"))


def test_both_resolvers_agree_on_the_same_story():
    console, reference = by_console(RECORDED, IDENTIFIERS), by_reference(RECORDED, sent)
    assert compare_profiles(console, reference) == []
    assert len(console) == 2


def test_a_profile_that_lacks_an_identifier_is_named():
    console = by_console(RECORDED, IDENTIFIERS | {"p2": frozenset()})
    faults = compare_profiles(console, by_reference(RECORDED, sent))
    assert faults[0] == "profiles: 1 of the console and 1 of the naive resolver differ"
    assert "user_id u2" in faults[2]


def test_a_message_in_the_wrong_profile_is_a_fault():
    moved = [*RECORDED[:2], RECORDED[2]._replace(profile="p1")]
    assert compare_profiles(by_console(moved, IDENTIFIERS), by_reference(RECORDED, sent))


def test_a_profile_without_a_message_is_a_fault():
    console = by_console(RECORDED, IDENTIFIERS | {"p3": frozenset({("user_id", "u3")})})
    assert compare_profiles(console, by_reference(RECORDED, sent))


def test_the_timeline_must_hold_each_message_once():
    assert compare_timeline(RECORDED, CONTENT.keys()) == []
    assert compare_timeline(RECORDED[1:], CONTENT.keys()) == ["sent, and missing in the timeline: web m1"]
    assert compare_timeline(RECORDED, list(CONTENT)[1:]) == ["in the timeline, and not sent by the quickstart: web m1"]
    assert compare_timeline([*RECORDED, RECORDED[0]], CONTENT.keys()) == ["in the timeline more than once: web m1"]
    assert compare_timeline(RECORDED, [*CONTENT, ("web", "m1")]) == ["sent, and missing in the timeline: web m1"]
    assert compare_timeline(RECORDED, list(CONTENT)[1:], [("web", "m1")]) == []
    assert compare_timeline(RECORDED[1:], list(CONTENT)[1:], [("web", "m1")]) == []


def test_an_audience_seen_alike_by_all_has_no_faults():
    assert compare_audience("New", SEEN) == []
    assert SEEN.settled


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"delivered": frozenset("a")}, "New: computed, but not delivered: b"),
        ({"delivered": frozenset("abc")}, "New: delivered, but not computed: c"),
        ({"truth": members("a")}, "New: computed, but not in truth: b"),
        ({"truth": members("a", "b", "c")}, "New: in truth, but not computed: c"),
        ({"known": USER - {("anonymous_id", "a1")}}, "New: an identifier of a member did not arrive: user_id u1"),
        ({"arrived": frozenset({("email", "x@y")})}, "New: an identifier of no member arrived: email x@y"),
        ({"sample": frozenset("c")}, "New: previewed, but not in truth: c"),
        ({"preview": 3}, "New: preview counts 3 people, not 2"),
    ],
)
def test_who_is_not_seen_by_all_is_named(changed, fault):
    assert compare_audience("New", replace(SEEN, **changed)) == [fault]


def test_who_is_just_crossing_the_edge_may_be_seen_or_not_but_is_not_settled():
    crossing = replace(SEEN, truth=members("a", unsure="b"), preview_truth=members("a", unsure="b"), preview=1)
    assert compare_audience("New", crossing) == []
    assert not crossing.settled


def test_the_console_may_be_some_seconds_behind_the_clock_and_no_more():
    left, entered = members("a"), members("a", "b", "c")
    for truth in (left, entered):
        behind = replace(SEEN, preview=len(truth.sure), preview_truth=truth, lately=SEEN.truth)
        assert compare_audience("New", behind) == []
    late = replace(SEEN, preview=1, preview_truth=left, lately=left)
    assert compare_audience("New", late) == ["New: still computed, 15 s after leaving the truth: b"]
    late = replace(SEEN, preview=3, preview_truth=entered, lately=entered)
    assert compare_audience("New", late) == ["New: not yet computed, 15 s after entering the truth: c"]


def test_without_a_truth_the_others_are_still_compared():
    unknown = replace(SEEN, truth=None, preview_truth=None)
    assert compare_audience("New", unknown) == []
    assert compare_audience("New", replace(unknown, sample=frozenset("c"))) == ["New: previewed, but not computed: c"]
    assert compare_audience("New", replace(unknown, preview=1)) == ["New: preview counts 1 people, not 2"]
