"""The audiences of a person: which, since when, and why; against what the stages decided."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audiences import explain
from audiences.api import views
from audiences.models import Audience
from audiences.pages.views import person
from audiences.services import create_trait
from identity.models import Identifier, Profile
from tests.factories_audiences import World
from tests.factories_identity import message

pytestmark = pytest.mark.django_db

SIGNED_UP = {"kind": "event", "name": "Signed Up", "within": {"days": 7}}
ORDERED = {"kind": "event", "name": "Ordered"}
PRO = {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}


@pytest.fixture
def world(cast, monkeypatch):
    world = World(cast.space)
    monkeypatch.setattr(person, "clock", world.clock)
    monkeypatch.setattr(views, "clock", world.clock)
    return world


def profile_of(world, value):
    number = Identifier.objects.get(space=world.space, value=value).profile
    return Profile.objects.get(space=world.space, number=number)


def get(cast, world, value, rest="", who="read_only", **headers):
    place = f"profiles/{profile_of(world, value).public_id}/audiences{rest}"
    return cast.browser(who).get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{place}", headers=headers)


def words(answer):
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def why(cast, world, value, key, **rest):
    audience = Audience.objects.get(space=world.space, key=key)
    return get(cast, world, value, f"/{audience.public_id}", **rest)


def test_a_person_is_in_audiences_since_they_last_entered(cast, world):
    world.sent(message(anonymousId="a1", event="Ordered"), message(userId="u1", anonymousId="a1", event="Signed Up"))
    world.audience("buyers", ORDERED)
    world.audience("new", SIGNED_UP)
    world.audience("nobody", {"kind": "event", "name": "Flew"})
    world.computed()
    answer = get(cast, world, "u1", hx_request="true")
    assert [each.audience.key for each, _ in answer.context["inside"]] == ["buyers", "new"]
    assert "since 15 Jun 2026, 12:00 UTC · First or new computation" in words(answer)
    assert "Not in 1 other audience nobody Why not?" in words(answer)
    world.later(timedelta(days=8))
    assert [each.audience.key for each, _ in get(cast, world, "u1").context["inside"]] == ["buyers"]
    world.did("u1", "Signed Up")
    world.ticked()
    new = get(cast, world, "u1").context["inside"][1][0]
    assert (new.audience.key, new.at, new.cause) == ("new", world.clock.now(), "Events")


def test_without_htmx_it_is_a_page_of_its_own(cast, world):
    world.did("u1", "Ordered")
    world.audience("buyers", ORDERED)
    world.computed()
    for answer in (get(cast, world, "u1"), why(cast, world, "u1", "buyers")):
        assert answer.content.decode().count("<h1>") == 1
        assert "HX-Request" in answer.headers["Vary"]
    for answer in (get(cast, world, "u1", hx_request="true"), why(cast, world, "u1", "buyers", hx_request="true")):
        assert "<h1" not in answer.content.decode()


def test_each_condition_is_answered_with_its_evidence(cast, world):
    world.sent(message("identify", userId="u1", traits={"plan": "pro"}))
    for ago in (1, 2, 3, 4):
        world.did("u1", "Signed Up", ago=timedelta(days=ago))
    world.audience("new", {"all": [SIGNED_UP, PRO, {"not": ORDERED}]})
    world.computed()
    found = why(cast, world, "u1", "new").context["why"]
    assert (found.member, found.matches) == (True, True)
    assert [(each.holds, each.wanted, each.helps, each.answer) for each in found.reasons] == [
        (True, True, True, "4 such events"),
        (True, True, True, "plan is pro"),
        (False, False, True, "no such event"),
    ]
    assert [f"{row.at:%d}" for row in found.reasons[0].seen] == ["14", "13", "12"]
    text = words(why(cast, world, "u1", "new"))
    assert found.sentence.replace('"', "&quot;") in text
    assert "The audience asks that this is not true, and so it is." in text


def test_it_says_what_a_measure_comes_to_and_when_time_may_change_it(cast, world):
    for ago, total in ((1, 10), (3, 5.5)):
        world.did("u1", "Ordered", ago=timedelta(days=ago), properties={"total": total})
    world.sent(message("identify", userId="u1", traits={"ends": "2026-06-20T12:00:00Z"}))
    lately = {"kind": "event", "name": "Ordered", "within": {"days": 7}}
    asked = [
        {**lately, "sum": "total", "atLeast": 10},
        {**lately, "average": "total", "atLeast": 10},
        {**lately, "distinct": "total", "atLeast": 2},
        {**lately, "then": [{"name": "Ordered", "exactly": 0, "within": {"days": 2}}]},
        {"kind": "trait", "name": "ends", "op": "withinNext", "value": {"days": 7}},
        {"kind": "split", "name": "x", "to": 100},
    ]
    world.audience("all", {"any": asked})
    world.computed()
    reasons = why(cast, world, "u1", "all").context["why"].reasons
    assert [each.answer for each in reasons] == [
        'a sum of "total" of 15.5; 2 such events',
        'an average of "total" of 7.75; 2 such events',
        'a number of different values of "total" of 2; 2 such events',
        "it happened like this 0 times; 2 such events",
        "ends is 2026-06-20T12:00:00Z",
        "",
    ]
    assert [each.turns_at and f"{each.turns_at:%d}" for each in reasons] == ["19", "19", "19", "16", "20", None]
    assert "Time alone may change this on" in words(why(cast, world, "u1", "all"))
    audience, profile = Audience.objects.get(space=world.space), profile_of(world, "u1")
    place = f"/api/spaces/{cast.space.public_id}/profiles/{profile.public_id}/audiences/{audience.public_id}"
    told = cast.call("read_only", "GET", place).json()["data"]["explanation"]
    assert (told["member"], told["matches"], told["more"]) == (True, True, 0)
    assert [each["answer"] for each in told["reasons"]] == [each.answer for each in reasons]
    assert told["reasons"][3]["turnsAt"] == "2026-06-16T12:00:00.000Z"


def test_what_a_computed_trait_comes_to_is_masked_where_it_is_personal(cast, world):
    world.did("u1", "Ordered", properties={"firstName": "Grace"})
    create_trait(
        world.space,
        name="Who",
        definition={"kind": "last", "name": "Ordered", "property": "firstName"},
        by=cast.people["owner"],
    )
    world.audience("some", {"kind": "computed", "name": "who", "op": "exists"})
    world.computed()
    (reason,) = why(cast, world, "u1", "some", who="owner").context["why"].reasons
    assert reason.answer == 'it is "Grace"; 1 such event'
    assert "Grace" not in words(why(cast, world, "u1", "some", who="user"))


def test_it_says_which_condition_keeps_somebody_out(cast, world):
    world.did("u1", "Signed Up")
    world.did("u1", "Ordered")
    world.audience("new", {"all": [SIGNED_UP, {"not": ORDERED}]})
    world.computed()
    found = why(cast, world, "u1", "new").context["why"]
    assert (found.member, [each.helps for each in found.reasons]) == (False, [True, False])
    assert "Not in the audience" in words(why(cast, world, "u1", "new"))


def test_events_out_of_the_window_and_of_other_people_are_no_evidence(cast, world):
    world.did("u1", "Signed Up", ago=timedelta(days=30))
    world.did("u2", "Signed Up")
    world.audience("new", SIGNED_UP)
    world.computed()
    (reason,) = why(cast, world, "u1", "new").context["why"].reasons
    assert (reason.holds, reason.answer, list(reason.seen)) == (False, "no such event", [])


def test_what_was_done_before_a_merge_counts_as_evidence(cast, world):
    world.did("u1", "Signed Up")
    world.sent(message(anonymousId="a1", event="Ordered"))
    world.sent(message("identify", userId="u1", anonymousId="a1"))
    world.audience("both", {"all": [SIGNED_UP, ORDERED]})
    world.computed()
    found = why(cast, world, "u1", "both").context["why"]
    assert found.member
    assert [each.answer for each in found.reasons] == ["1 such event", "1 such event"]


def test_it_says_when_the_audience_is_behind_the_events(cast, world):
    world.did("u1", "Seen")
    world.audience("buyers", ORDERED)
    world.computed()
    world.did("u1", "Ordered")
    found = why(cast, world, "u1", "buyers").context["why"]
    assert (found.member, found.matches) == (False, True)
    assert "the next evaluation brings the audience up to date" in words(why(cast, world, "u1", "buyers"))


def test_anonymous_people_are_told_apart_from_those_who_do_not_match(cast, world):
    world.sent(message(anonymousId="a1", event="Ordered"))
    world.audience("buyers", ORDERED)
    world.computed()
    found = why(cast, world, "a1", "buyers").context["why"]
    assert (found.member, found.anonymous) == (False, True)
    assert "known by an anonymous id only" in words(why(cast, world, "a1", "buyers"))


def test_a_condition_on_another_audience_is_answered_or_said_to_be_unanswerable(cast, world):
    world.did("u1", "Ordered")
    world.audience("buyers", ORDERED)
    world.computed()
    world.audience("same", {"kind": "audience", "key": "buyers"})
    assert [each.holds for each in why(cast, world, "u1", "same").context["why"].reasons] == [True]
    world.audience("later", ORDERED)
    world.audience("far", {"kind": "audience", "key": "later"})
    assert "The audience later is not computed yet." in words(why(cast, world, "u1", "far"))


def test_many_conditions_are_explained_up_to_a_number(cast, world, monkeypatch):
    world.did("u1", "Ordered")
    world.audience("any", {"any": [{"kind": "event", "name": f"E{n}"} for n in range(5)]})
    world.computed()
    monkeypatch.setattr(explain, "MOST_CONDITIONS", 3)
    found = why(cast, world, "u1", "any").context["why"]
    assert (len(found.reasons), found.more) == (3, 2)


def test_it_agrees_with_who_is_in_the_audience(cast, world):
    """The explanation is the compiler's: it never differs from the members."""
    for n in range(6):
        world.did(f"u{n}", "Signed Up", ago=timedelta(days=2 * n))
        if n % 2:
            world.did(f"u{n}", "Ordered")
    key = world.audience("some", {"any": [{"all": [SIGNED_UP, {"not": ORDERED}]}, {**ORDERED, "exactly": 2}]}).key
    world.computed()
    members = world.members(Audience.objects.get(space=world.space, key=key))
    for n in range(6):
        found = why(cast, world, f"u{n}", key).context["why"]
        assert found.member == found.matches == (f"u{n}" in members)


def test_nobody_sees_this_of_another_space(cast, world):
    world.did("u1", "Ordered")
    audience = world.audience("buyers", ORDERED)
    world.computed()
    theirs = World(cast.other_space).audience("buyers", ORDERED)
    assert get(cast, world, "u1", f"/{theirs.public_id}", who="owner").status_code == 404
    assert get(cast, world, "u1", f"/{audience.public_id}", who="stranger").status_code == 404
    audience.deleted_at = world.clock.now()
    audience.save()
    assert get(cast, world, "u1", f"/{audience.public_id}", who="owner").status_code == 404


def test_more_audiences_cost_no_more_queries(cast, world):
    world.did("u1", "Ordered")
    counts = []
    for start, more in ((0, 2), (2, 6)):
        for n in range(start, start + more):
            world.audience(f"buyers{n}", ORDERED)
        world.computed()
        with CaptureQueriesContext(connection) as asked:
            assert len(get(cast, world, "u1").context["inside"]) == start + more
        counts.append(len(asked))
    assert counts[0] == counts[1]
