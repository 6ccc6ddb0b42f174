"""Pages about people, against what the stages made of real messages."""

import pytest

from identity.models import Evidence, Profile
from sources.services import delete_source
from tests.factories import SourceFactory
from tests.factories_identity import DAY_MS, ProfileFactory, archived, listening, message, resolved

pytestmark = pytest.mark.django_db


@pytest.fixture
def source(cast):
    source = SourceFactory(workspace=cast.workspace, name="Website")
    listening(cast.space, source)
    return source


def heard(cast, source, *messages):
    archived(source, *messages)
    resolved(cast.space)


def page(cast, rest, who="read_only", **query):
    answer = cast.browser(who).get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{rest}", query)
    assert answer.status_code == 200
    return answer


def of(cast, number, **query):
    """The page of a profile: what it is made of, and its text."""
    public_id = Profile.objects.get(space=cast.space, number=number).public_id
    answer = page(cast, f"profiles/{public_id}", **query)
    return answer.context, answer.content.decode()


@pytest.fixture
def ada(cast, source):
    heard(
        cast,
        source,
        message(id="m1", at=-2 * DAY_MS, anonymousId="a1", event="Seen", properties={"sku": "boot"}),
        message("identify", id="m2", at=-DAY_MS, userId="u1", traits={"name": "Ada", "email": "ada@x.org"}),
        message("identify", id="m3", at=-DAY_MS + 1, userId="u1", anonymousId="a1", traits={"name": "Ada Obi"}),
        message("group", id="m4", userId="u1", groupId="g1", traits={"name": "Acme"}),
        message("identify", id="m5", userId="u2", anonymousId="a1", traits={"name": "Björn"}),
    )


def test_a_list_shows_people_or_accounts_and_says_when_there_are_none(cast, ada):
    assert [each.name for each in page(cast, "profiles").context["people"]] == ["Björn", "Ada Obi"]
    assert [each.name for each in page(cast, "profiles", kind="accounts").context["people"]] == ["Acme"]
    Profile.objects.filter(space=cast.space).delete()
    assert "No profiles yet" in page(cast, "profiles").content.decode()


@pytest.mark.parametrize("wanted", ["u1", "ada@x.org", "a1", "email:ada@x.org", " ADA@X.ORG "])
def test_a_search_finds_somebody_by_any_identifier(cast, ada, wanted):
    assert [each.name for each in page(cast, "profiles", q=wanted).context["people"]] == ["Ada Obi"]


def test_a_search_finds_an_identifier_that_only_this_space_has(cast, source):
    cast.space.identity_policy = {"identifiers": [{"type": "user_id"}, {"type": "crm"}]}
    cast.space.save()
    heard(cast, source, message(userId="u1", properties={"crm": "c-7"}))
    assert len(page(cast, "profiles", q="c-7").context["people"]) == 1


def test_a_trait_shows_its_value_with_source_and_event_time(cast, ada):
    context, text = of(cast, 1)
    assert [(row.key, row.shown, row.source) for row in context["traits"]] == [
        ("email", "ada@x.org", "Website"),
        ("name", "Ada Obi", "Website"),
    ]
    assert "14 Jun 2026, 12:00 UTC" in text
    assert "No traits" not in text


def test_an_identifier_shows_the_event_and_the_source_that_brought_it(cast, ada):
    context, text = of(cast, 1)
    shown = [(row.type, row.value, row.source, row.message_id) for row in context["identifiers"]]
    assert shown == [
        ("anonymous_id", "a1", "Website", "m1"),
        ("email", "ada@x.org", "Website", "m2"),
        ("user_id", "u1", "Website", "m2"),
    ]
    assert "13 Jun 2026, 12:00 UTC" in text


def test_merges_are_shown_with_their_reason_those_of_merged_profiles_too(cast, source):
    heard(
        cast,
        source,
        message(id="m1", anonymousId="a1"),
        message(id="m2", anonymousId="a2"),
        message(id="m3", userId="u1"),
        message(id="m4", userId="u1", anonymousId="a2"),
        message(id="m5", userId="u1", anonymousId="a1"),
    )
    context, text = of(cast, 1)
    assert [row.message_id for row in context["merges"]] == ["m5", "m4"]
    assert "takes in 2, joined by user_id u1, anonymous_id a1" in text
    assert context["merges"][1].winner == context["merges"][0].loser
    heard(cast, source, message(userId="alone"))
    assert "Merges" not in of(cast, 4)[1]


def test_what_was_refused_is_shown_with_what_it_was_refused_for(cast, ada):
    context, text = of(cast, 4)
    (refusal,) = context["refusals"]
    assert refusal.refused == [("anonymous_id", "a1", "user_id allows 1 ever")]
    assert (refusal.events, refusal.source, refusal.message_id) == (1, "Website", "m5")
    assert refusal.together == "user_id: u2, anonymous_id: a1"
    assert "anonymous_id a1: user_id allows 1 ever" in text
    assert "Refused" not in of(cast, 1)[1]


def test_a_refusal_is_shown_after_its_profile_was_merged(cast, source):
    heard(cast, source, message(anonymousId="a1", userId="u1"), message(userId="u2", anonymousId="a9"))
    heard(cast, source, message(id="no", anonymousId="a1", userId="u2"), message(anonymousId="a0"))
    Evidence.objects.filter(space=cast.space).exclude(refused=[]).update(profile=2)
    Profile.objects.filter(space=cast.space, number=2).update(merged_into=1)
    (refusal,) = of(cast, 1)[0]["refusals"]
    assert refusal.message_id == "no"


def test_accounts_and_their_users_lead_to_each_other(cast, ada):
    assert [each.name for each in of(cast, 1)[0]["relations"]] == ["Acme"]
    assert [each.name for each in of(cast, 3)[0]["relations"]] == ["Ada Obi"]
    assert "Belongs with" not in of(cast, 4)[1]


def test_events_are_shown_by_day_with_the_message_as_archived(cast, ada):
    context, text = of(cast, 1)
    days = [(day.date().isoformat(), [event.name for event in events]) for day, events in context["history"].days]
    assert days == [("2026-06-15", ["Group"]), ("2026-06-14", ["Identify", "Identify"]), ("2026-06-13", ["Seen"])]
    assert "&quot;sku&quot;: &quot;boot&quot;" in text
    assert "Monday, 15 June 2026" in text
    assert "anonymous_id: a1" in text
    assert not context["history"].older


def test_older_events_are_a_page_away_and_none_is_shown_twice(cast, source):
    heard(cast, source, *(message(userId="u1", event=f"E{n}", at=-(n // 3)) for n in range(120)))
    seen, older = [], ""
    while True:
        context, text = of(cast, 1, **({"before": older} if older else {}))
        seen += [event.name for _, events in context["history"].days for event in events]
        assert ("Older" in text) == bool(context["history"].older)
        older = context["history"].older
        if not older:
            break
    assert sorted(seen) == sorted(f"E{n}" for n in range(120))
    assert "Newest" in text


@pytest.mark.parametrize("before", ["x", "1.2.3", "-1.0.0.0", "9" * 20 + ".1.1.1", "1.2.3.²"])
def test_a_senseless_place_shows_the_newest_events(cast, ada, before):
    assert of(cast, 1, before=before)[0]["history"].days


def test_a_profile_of_which_nothing_is_left_still_has_a_page(cast):
    text = page(cast, f"profiles/{ProfileFactory(space=cast.space).public_id}").content.decode()
    for said in ("Anonymous visitor", "No traits", "No identifiers", "No events"):
        assert said in text


def test_what_a_deleted_source_said_is_still_shown(cast, source, ada):
    delete_source(source)
    context, _ = of(cast, 1)
    assert {row.source for row in context["traits"]} == {"a deleted source"}
    assert {row.source for row in context["identifiers"]} == {"a deleted source"}
    assert context["merges"][0].source == "a deleted source"
    assert context["history"].days


def test_somebody_with_many_merges_and_events_costs_no_more_queries(cast, source, django_assert_max_num_queries):
    heard(cast, source, message(userId="u1", id="first"))
    for number in range(4):
        heard(cast, source, message(anonymousId=f"a{number}"), message(userId="u1", anonymousId=f"a{number}"))
    public_id = Profile.objects.get(space=cast.space, number=1).public_id
    browser = cast.browser("read_only")
    with django_assert_max_num_queries(32):
        assert browser.get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{public_id}").status_code == 200
