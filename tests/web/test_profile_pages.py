"""Pages about people, against what the stages made of real messages."""

import csv
import io
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pyroaring import BitMap

from identity.models import Evidence, Profile, searched_name
from identity.pages import presenters
from identity.pages.views import profiles
from sources.services import delete_source
from spaces.clock import FixedClock
from tests.factories import SourceFactory
from tests.factories_identity import (
    DAY_MS,
    NOON,
    NOON_MS,
    IdentifierFactory,
    ProfileFactory,
    archived,
    crowd,
    listening,
    message,
    resolved,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def source(cast):
    source = SourceFactory(workspace=cast.workspace, name="Website")
    listening(cast.space, source)
    return source


def heard(cast, source, *messages):
    archived(source, *messages)
    resolved(cast.space)


def page(cast, rest, who="admin", **query):
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
    context, text = of(cast, 1, tab="identities")
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
    context, text = of(cast, 1, tab="merges")
    assert [row.message_id for row in context["merges"]] == ["m5", "m4"]
    assert "takes in 2, joined by user_id u1, anonymous_id a1" in text
    assert context["merges"][1].winner == context["merges"][0].loser
    heard(cast, source, message(userId="alone"))
    assert "No merges" in of(cast, 4, tab="merges")[1]


def test_what_was_refused_is_shown_with_what_it_was_refused_for(cast, ada):
    context, text = of(cast, 4, tab="merges")
    (refusal,) = context["refusals"]
    assert refusal.refused == [("anonymous_id", "a1", "user_id allows 1 ever")]
    assert (refusal.events, refusal.source, refusal.message_id) == (1, "Website", "m5")
    assert refusal.together == "user_id: u2, anonymous_id: a1"
    assert "anonymous_id a1: user_id allows 1 ever" in text
    assert "was refused" in of(cast, 1, tab="merges")[1]


def test_a_refusal_is_shown_after_its_profile_was_merged(cast, source):
    heard(cast, source, message(anonymousId="a1", userId="u1"), message(userId="u2", anonymousId="a9"))
    heard(cast, source, message(id="no", anonymousId="a1", userId="u2"), message(anonymousId="a0"))
    Evidence.objects.filter(space=cast.space).exclude(refused=[]).update(profile=2)
    Profile.objects.filter(space=cast.space, number=2).update(merged_into=1)
    (refusal,) = of(cast, 1, tab="merges")[0]["refusals"]
    assert refusal.message_id == "no"


def test_what_was_set_aside_is_shown_with_the_reason(cast, source):
    second = {"traits": {"email": "other@x.org"}}
    heard(
        cast,
        source,
        message("identify", id="junk", userId="None", anonymousId="a1"),
        message("identify", id="two", anonymousId="a2", traits={"email": "a2@x.org"}, context=second),
        message(id="none", anonymousId="a2"),
    )
    (refusal,) = of(cast, 1, tab="merges")[0]["refusals"]
    assert refusal.refused == [("user_id", "None", "it matches a blocked pattern")]
    (refusal,) = of(cast, 2, tab="merges")[0]["refusals"]
    assert refusal.refused == [("email", "other@x.org", "a second value of its type: the first one counts")]
    assert refusal.message_id == "two"


def test_an_account_of_many_names_a_few_and_leafs_through_all(cast, ada):
    crowd(cast.space, account=3, first=100, count=120)
    context, text = of(cast, 3)
    assert (len(context["relations"]), context["more_relations"]) == (5, 116)
    seen, after = [], ""
    while after is not None:
        context, _ = of(cast, 3, tab="related", after=after)
        seen += [each.profile.number for each in context["people"]]
        after = parse_qs(urlsplit(context["pager"].next).query)["after"][0] if context["pager"].next else None
    assert seen == [1, *range(100, 220)]
    assert "Relations" in text


def test_accounts_and_their_users_lead_to_each_other(cast, ada):
    assert [each.name for each in of(cast, 1)[0]["relations"]] == ["Acme"]
    assert [each.name for each in of(cast, 3)[0]["relations"]] == ["Ada Obi"]
    assert "Relations" not in of(cast, 4)[1]


def test_events_are_shown_by_day_with_the_message_as_archived(cast, ada):
    context, text = of(cast, 1, tab="events")
    days = [(day.date().isoformat(), [event.name for event in events]) for day, events in context["history"].days]
    assert days == [("2026-06-15", ["Group"]), ("2026-06-14", ["Identify", "Identify"]), ("2026-06-13", ["Seen"])]
    assert "&quot;sku&quot;: &quot;boot&quot;" in text
    assert "Monday, 15 June 2026" in text
    assert not context["history"].older


def test_older_events_are_a_page_away_and_none_is_shown_twice(cast, source):
    heard(cast, source, *(message(userId="u1", event=f"E{n}", at=-(n // 3)) for n in range(120)))
    seen, older = [], ""
    while True:
        context, text = of(cast, 1, tab="events", **({"before": older} if older else {}))
        seen += [event.name for _, events in context["history"].days for event in events]
        assert ("Older" in text) == bool(context["history"].older)
        older = context["history"].older
        if not older:
            break
    assert sorted(seen) == sorted(f"E{n}" for n in range(120))
    assert "Newest" in text


@pytest.mark.parametrize("before", ["x", "1.2.3", "-1.0.0.0", "9" * 20 + ".1.1.1", "1.2.3.²"])
def test_a_senseless_place_shows_the_newest_events(cast, ada, before):
    assert of(cast, 1, tab="events", before=before)[0]["history"].days


def test_a_profile_of_which_nothing_is_left_still_has_its_pages(cast):
    place = f"profiles/{ProfileFactory(space=cast.space).public_id}"
    said = {"traits": "No traits", "events": "No events", "identities": "No identifiers", "merges": "No merges"}
    for tab, text in said.items():
        shown = page(cast, place, tab=tab).content.decode()
        assert "Anonymous visitor" in shown
        assert text in shown


def test_what_a_deleted_source_said_is_still_shown(cast, source, ada):
    delete_source(source)
    assert {row.source for row in of(cast, 1)[0]["traits"]} == {"a deleted source"}
    context, _ = of(cast, 1, tab="identities")
    assert {row.source for row in context["identifiers"]} == {"a deleted source"}
    assert context["merges"][0].source == "a deleted source"
    assert of(cast, 1, tab="events")[0]["history"].days


@pytest.mark.parametrize("tab", ["traits", "events", "identities", "audiences", "merges"])
def test_somebody_with_many_merges_and_events_costs_no_more_queries(cast, source, tab):
    heard(cast, source, message(userId="u1", id="first"))
    counts = []
    for rounds in (1, 4):
        for number in range(rounds):
            device = f"a{rounds}{number}"
            heard(cast, source, message(anonymousId=device), message(userId="u1", anonymousId=device))
        with CaptureQueriesContext(connection) as asked:
            of(cast, 1, tab=tab)
        counts.append(len(asked))
    assert counts[0] == counts[1] < 45  # signing in included


def names(answer):
    return [each.name for each in answer.context["people"]]


@pytest.mark.parametrize("wanted", ["ada", "Ada O", "ADA@", "Björn"])
def test_a_search_finds_people_by_how_their_name_or_address_begins(cast, ada, wanted):
    assert names(page(cast, "profiles", q=wanted)) == ["Björn" if wanted == "Björn" else "Ada Obi"]


@pytest.mark.parametrize("wanted", ["obi", "%", "a_a", "da"])
def test_a_search_does_not_find_what_a_name_only_contains(cast, ada, wanted):
    assert names(page(cast, "profiles", q=wanted)) == []
    assert "No profiles found" in page(cast, "profiles", q=wanted).content.decode()


def test_a_name_in_parts_is_found_and_a_very_long_one_can_be_kept(cast):
    ProfileFactory(space=cast.space, number=1, traits={"first_name": "Grace", "lastName": "Hopper"})
    ProfileFactory(space=cast.space, number=2, traits={"name": "Long " * 2000, "email": {"odd": "one"}})
    assert names(page(cast, "profiles", q="grace")) == ["Grace Hopper"]
    assert len(names(page(cast, "profiles", q="long long"))) == 1


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_a_search_by_name_is_answered_by_an_index(cast):
    """Among so many that any other index of the space would cost more, as the statistics know."""
    rows = [
        Profile(workspace=cast.workspace, space=cast.space, number=n, first_seen_at=NOON, traits={"name": f"{n} Ada"})
        for n in range(1, 3001)
    ]
    Profile.objects.bulk_create(rows)
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE identity_profile")
    asked = Profile.objects.filter(space=cast.space, merged_into=None).annotate(how=searched_name())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = asked.filter(how__startswith="ada").explain()
    assert "profiles_by_name" in plan
    assert "~>=~" in plan


def test_a_search_shows_people_or_accounts_of_this_space_only(cast, ada):
    ProfileFactory(space=cast.other_space, number=1, traits={"name": "Ada Elsewhere"})
    assert names(page(cast, "profiles", q="acme")) == []
    assert names(page(cast, "profiles", q="acme", kind="accounts")) == ["Acme"]
    assert names(page(cast, "profiles", q="ada")) == ["Ada Obi"]


def test_the_list_says_when_somebody_last_changed(cast, ada):
    shown = page(cast, "profiles", q="u1").context["people"][0]
    assert f"{shown.changed_at:%Y-%m-%d %H:%M}" == "2026-06-14 12:00"
    assert "14 Jun 2026, 12:00 UTC" in page(cast, "profiles", q="u1").content.decode()


def downloaded(cast, **query):
    answer = page(cast, "profiles", format="csv", **query)
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_a_download_holds_what_the_search_finds(cast, ada, monkeypatch):
    monkeypatch.setattr(presenters, "CSV_ROWS", 1)
    assert [row["Name"] for row in downloaded(cast)] == ["Björn", "Ada Obi"]
    (row,) = downloaded(cast, q="ada@")
    assert row["Identifiers"] == "anonymous_id:a1, user_id:u1, email:ada@x.org"
    assert row["E-mail"] == "ada@x.org"
    assert row["Last changed"] == "2026-06-14T12:00:00.001000+00:00"
    assert [row["Name"] for row in downloaded(cast, kind="accounts")] == ["Acme"]


def test_the_list_costs_no_more_queries_with_more_people(cast):
    counts = []
    for start, more in ((0, 3), (3, 40)):
        for number in range(start, start + more):
            made = ProfileFactory(space=cast.space, number=number + 1, traits={"name": f"Ada {number}"})
            IdentifierFactory(space=cast.space, number=number + 1, profile=made.number, value=f"u{number}")
        with CaptureQueriesContext(connection) as asked:
            assert len(names(page(cast, "profiles", q="ada"))) == start + more
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_the_side_sheet_shows_the_essentials_and_leads_on(cast, ada):
    public_id = Profile.objects.get(space=cast.space, number=1).public_id
    text = page(cast, f"profiles/{public_id}/sheet").content.decode()
    assert "<h1" not in text
    for said in ("Ada Obi", "ada@x.org", "anonymous_id", "Open the whole profile", f"profiles/{public_id}/audiences"):
        assert said in text
    there = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{public_id}/sheet"
    assert cast.browser("stranger").get(there).status_code == 404
    elsewhere = ProfileFactory(space=cast.other_space).public_id
    assert cast.browser("owner").get(there.replace(public_id, elsewhere)).status_code == 404


def test_traits_are_filtered_by_name_and_by_value(cast, ada):
    assert [row.key for row in of(cast, 1, q="ADA@")[0]["traits"]] == ["email"]
    assert [row.key for row in of(cast, 1, q="nam")[0]["traits"]] == ["name"]
    assert "No trait has this in it" in of(cast, 1, q="nothing")[1]


def test_an_unknown_tab_shows_the_traits(cast, ada):
    assert of(cast, 1, tab="../x")[0]["tab"] == "traits"


def test_an_event_is_shown_pretty_and_raw(cast, ada):
    context, text = of(cast, 1, tab="events")
    event = context["history"].days[-1][1][0]
    assert [(part.title, list(part.rows)) for part in event.parts][:2] == [
        ("Properties", [("sku", "boot")]),
        ("Identifiers", [("anonymous_id", "a1")]),
    ]
    assert '<dt class="mono">sku</dt><dd class="value">boot</dd>' in text
    assert 'value="raw" checked' not in text
    assert 'value="raw" checked' in of(cast, 1, tab="events", view="raw")[1]


def test_the_chart_counts_the_events_of_each_of_the_last_30_days(cast, ada, monkeypatch):
    monkeypatch.setattr(profiles, "clock", FixedClock(NOON))
    context, text = of(cast, 1, tab="events")
    assert context["in_days"] == 4
    assert "Events per day of the last 30 days: 4 in all" in text
    assert "<title>14 Jun: 2</title>" in text
    monkeypatch.setattr(profiles, "clock", FixedClock(NOON + timedelta(days=29)))
    assert of(cast, 1, tab="events")[0]["in_days"] == 1
    monkeypatch.setattr(profiles, "clock", FixedClock(NOON + timedelta(days=300)))
    assert of(cast, 1, tab="events")[0]["chart"] is None


def test_the_picture_shows_the_same_facts_as_the_tables(cast, source):
    heard(cast, source, message(id="m1", anonymousId="a1"), message(id="m2", userId="u1"))
    heard(cast, source, message(id="m3", userId="u1", anonymousId="a1"))
    context, text = of(cast, 1, tab="identities")
    drawn = {(box.href, box.summary) for box in context["graph"].boxes}
    assert drawn == {(f"#identifier-{row.number}", row.summary) for row in context["identifiers"]} | {
        (f"#merge-{row.loser}", row.summary) for row in context["merges"]
    }
    assert len(drawn) == 3
    for href, said in drawn:
        assert f'id="{href[1:]}"' in text
        assert f"<title>{said}</title>" in text
    assert "brought by message m1 from Website, 15 Jun 2026, 12:00 UTC" in text


def test_days_are_those_of_the_reader(cast, source):
    """An event at half past eleven in the evening, UTC: the next day in Tokyo."""
    late = NOON + timedelta(hours=11, minutes=30)
    heard(cast, source, message(userId="u1", event="Ordered", at=int(late.timestamp() * 1000) - NOON_MS))
    (profile,) = Profile.objects.filter(space=cast.space)
    where = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{profile.public_id}?tab=events"
    today, tomorrow = (f"{day:%A, %-d %B %Y}" for day in (late, late + timedelta(days=1)))
    for zone, shown, time in (
        ("", today, "23:30:00 UTC"),
        ("Asia/Tokyo", tomorrow, "08:30:00 JST"),
        ("America/New_York", today, "19:30:00 EDT"),
        ("Mars/Base", today, "23:30:00 UTC"),
        ("../../etc/passwd", today, "23:30:00 UTC"),
    ):
        browser = cast.browser("admin")
        browser.cookies["zone"] = zone
        html = browser.get(where).content.decode()
        assert f">{shown}</time>" in html
        assert f'datetime="{late:%Y-%m-%dT%H:%M:%S}Z" data-clock>{time}</time>' in html


def test_a_chart_has_the_days_of_the_reader(cast, source):
    late = NOON + timedelta(hours=11, minutes=30)
    heard(cast, source, message(userId="u1", event="Ordered", at=int(late.timestamp() * 1000) - NOON_MS))
    numbers = BitMap([Profile.objects.get(space=cast.space).number])
    for zone, day in (("UTC", late.date()), ("Asia/Tokyo", late.date() + timedelta(days=1))):
        with timezone.override(zone):
            days = presenters.per_day(cast.space, numbers, until=late + timedelta(hours=1))
        assert [each for each, count in days if count] == [day]
        assert len(days) == presenters.DAYS


def test_events_are_filtered_by_name_and_by_source(cast, source):
    shop = SourceFactory(workspace=cast.workspace, name="Shop")
    listening(cast.space, shop)
    heard(cast, source, *(message(userId="u1", event="Seen", at=n) for n in range(60)), message("page", userId="u1"))
    heard(cast, shop, message(userId="u1", event="Seen"), message(userId="u1", event="Paid"))

    def shown(**query):
        context, text = of(cast, 1, tab="events", **query)
        return [(event.name, event.source) for _, events in context["history"].days for event in events], text

    assert shown(event="track:Paid")[0] == [("Paid", "Shop")]
    assert {*shown(source=shop.public_id)[0]} == {("Seen", "Shop"), ("Paid", "Shop")}
    assert shown(event="track:Seen", source=shop.public_id)[0] == [("Seen", "Shop")]
    names = of(cast, 1, tab="events")[0]["filter"].names
    (viewed,) = [value for value, *_ in names if value.startswith("page:")]
    assert len(shown(event=viewed)[0]) == 1
    _, text = shown(event="track:Seen", source=source.public_id)
    assert f"event=track%3ASeen&amp;source={source.public_id}&amp;before=" in text  # the next page is of the same
    assert len(shown(event="no:such", source="src_none")[0]) == 50


def test_a_pasted_list_finds_whoever_has_one_of_them_and_says_who_is_nobody(cast, source):
    heard(
        cast,
        source,
        message(
            "identify", userId="u1", traits={"email": "Ada@Example.com", "plan": "pro", "phone": "+41 79 123 45 67"}
        ),
        message("identify", userId="u2", traits={"plan": "free"}),
        message("identify", userId="u3"),
    )
    second = Profile.objects.get(space=cast.space, number=2).public_id
    asked = f"ADA@example.com\n{second}\nuser_id:u2\nnobody@example.com\n\n"
    answer = page(cast, "profiles", list=asked, columns="plan, phone")
    assert [person.profile.number for person in answer.context["people"]] == [2, 1]
    assert answer.context["unknown"] == ["nobody@example.com"]
    assert [cells for _, cells in answer.context["rows"]] == [["free", ""], ["pro", "+41 79 123 45 67"]]
    rows = page(cast, "profiles", list=asked, columns="plan", format="csv")
    lines = list(csv.reader(io.StringIO(b"".join(rows.streaming_content).decode())))
    assert [(line[1], line[-1]) for line in lines] == [("E-mail", "plan"), ("", "free"), ("Ada@Example.com", "pro")]
    masked = page(cast, "profiles", who="read_only", list=asked, columns="plan, phone")
    assert [cells for _, cells in masked.context["rows"]] == [["free", ""], ["pro", "•••"]]


def test_a_note_is_written_found_by_its_label_and_outlives_a_merge(cast, source):
    heard(cast, source, message(userId="u1"), message(anonymousId="a1"))
    second = Profile.objects.get(space=cast.space, number=2).public_id
    url = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles/{second}"
    note = {"label": "VIP", "text": "Write to ada@example.com"}
    assert cast.window("user").post(url, note).status_code == 302
    assert cast.window("read_only").post(url, note).status_code == 403
    heard(cast, source, message(userId="u1", anonymousId="a1"))
    assert "Write to ada@example.com" in of(cast, 1)[1]
    assert (
        "Write to •••"
        in page(
            cast, f"profiles/{Profile.objects.get(space=cast.space, number=1).public_id}", who="read_only"
        ).content.decode()
    )
    assert [person.profile.number for person in page(cast, "profiles", q="VIP").context["people"]] == [1]
    api = f"/api/spaces/{cast.space.public_id}/profiles/user_id:u1/note"
    assert cast.call("user", "GET", api).json()["data"]["note"]["label"] == "VIP"
    assert cast.call("user", "PUT", api, {"label": "", "text": ""}).json()["data"]["note"] is None
    assert of(cast, 1)[0]["note"] is None
