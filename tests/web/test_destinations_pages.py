"""The pages of destinations and of the life of an audience: what they show, what their forms do, and to whom."""

from typing import Any
from urllib.parse import quote_plus

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from access.models import AuditEntry
from audiences import drafts
from audiences.models import Audience, Draft, Version
from audiences.rules import draft_form
from destinations.adapters import all_adapters
from destinations.models import Destination, Subscription
from destinations.queries import settings_of
from destinations.sync import Sync
from sources.models import Replay
from spaces import batches
from spaces.clock import FixedClock
from spaces.settings_schema import MASK, fields_of
from tests.cast import Cast
from tests.factories_destinations import (
    BORN,
    AudienceFactory,
    change,
    make_destination,
    make_person,
    make_subscription,
)
from tests.receiver import Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)
WEBHOOK = {
    "name": "Hook",
    "settings-url": "https://example.com/in",
    "settings-style": "event",
    "settings-batchSize": "1",
    "settings-method": "POST",
}
DEFINITION = {"kind": "event", "name": "Signed Up", "atLeast": 1, "within": {"days": 7}}


@pytest.fixture
def audience(cast: Cast) -> Audience:
    made = AudienceFactory(space=cast.space, key="shoppers", name="Shoppers of the week")
    Version.objects.filter(audience=made).update(definition=DEFINITION)
    return made


@pytest.fixture
def draft(cast: Cast) -> Draft:
    made = drafts.begin(cast.space, cast.people["user"])
    drafts.keep(made, sketch=draft_form.of_definition(DEFINITION), name="New people")
    return made


def url(cast: Cast, rest: str) -> str:
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{rest}"


def text(cast: Cast, rest: str, who: str = "admin", **query: str) -> str:
    answer = cast.browser(who).get(url(cast, rest), query)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def post(cast: Cast, rest: str, who: str = "admin", **data: Any) -> Any:
    return cast.browser(who).post(url(cast, rest), data)


def delivered(subscription: Subscription) -> None:
    log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    while batches.advance(Sync(FixedClock(BORN)), log):
        pass


def test_the_catalogue_is_searched_by_the_words_of_its_cards(cast: Cast) -> None:
    shown = text(cast, "destinations/catalog", q="e-mail LISTS", next=url(cast, "audiences"))
    assert "HubSpot" in shown
    assert "Amplitude" not in shown
    assert f'name="next" value="{url(cast, "audiences")}"' in shown
    assert "No such tool" in text(cast, "destinations/catalog", q="<fax>")


@pytest.mark.parametrize("kind", all_adapters())
def test_every_kind_has_a_form_with_all_its_settings(cast: Cast, kind: str) -> None:
    form = text(cast, "destinations/new", kind=kind)
    assert f"Set up {all_adapters()[kind].label}" in form
    for field in fields_of(all_adapters()[kind].settings):
        assert escape(field.label) in form
        assert escape(field.help) in form


def test_a_destination_is_made_from_what_its_kind_declares_and_its_secret_is_shown_once(cast: Cast) -> None:
    form = text(cast, "destinations/new", kind="webhook")
    assert all(label in form for label in ("Address", "Changes per request", "Signing secret"))
    filled = WEBHOOK | {"settings-style": "list", "settings-batchSize": "5"}
    answer = post(cast, "destinations/new?kind=webhook", **filled)
    made = Destination.objects.get()
    secret = settings_of(made).signing_secret
    assert secret in answer.content.decode()
    assert answer["Cache-Control"] == "no-store"
    assert (settings_of(made).style, settings_of(made).batch_size) == ("list", 5)
    page = text(cast, f"destinations/{made.public_id}")
    assert secret not in page
    assert MASK in page
    assert secret not in text(cast, f"destinations/{made.public_id}", who="read_only")


def test_a_wrong_setting_is_named_next_to_its_field_and_the_entries_stay(cast: Cast) -> None:
    filled = WEBHOOK | {"settings-url": "nowhere"}
    answer = post(cast, "destinations/new?kind=webhook", **filled)
    assert answer.status_code == 422
    assert "url" in answer.context["settings"].errors
    assert 'value="nowhere"' in answer.content.decode()
    assert not Destination.objects.exists()


def test_a_masked_secret_stays_when_other_settings_are_saved(cast: Cast) -> None:
    made = make_destination(cast.space, "webhook", url="https://example.com/in")
    before = settings_of(made).signing_secret
    filled = WEBHOOK | {
        "name": "Renamed",
        "settings-url": "https://example.com/new",
        "settings-signingSecret": MASK,
    }
    answer = post(cast, f"destinations/{made.public_id}", **filled)
    assert answer.status_code == 302
    made.refresh_from_db()
    assert (made.name, settings_of(made).url) == ("Renamed", "https://example.com/new")
    assert settings_of(made).signing_secret == before


def test_a_destination_is_tested_switched_off_and_deleted_by_its_name(cast: Cast) -> None:
    made = make_destination(cast.space)
    place = f"destinations/{made.public_id}"
    assert "It works." in post(cast, place, do="test").content.decode()
    assert post(cast, place, do="disable").status_code == 302
    assert not Destination.objects.get().enabled
    assert post(cast, place, confirm="something else").status_code == 422
    assert Destination.objects.exists()
    assert post(cast, place, confirm=made.name).status_code == 302
    assert not Destination.objects.exists()
    assert AuditEntry.objects.filter(action="destination.deleted").exists()


def test_only_admins_change_destinations_and_others_see_no_controls(cast: Cast) -> None:
    made = make_destination(cast.space)
    for who in ("user", "read_only"):
        assert post(cast, f"destinations/{made.public_id}", who, do="disable").status_code == 403
        assert '<form method="post"' not in text(cast, f"destinations/{made.public_id}", who).split("<main")[1]
    assert Destination.objects.get().enabled


def test_an_audience_shows_its_size_its_movement_and_what_is_known_of_its_people(
    cast: Cast, audience: Audience
) -> None:
    one = make_person(cast.space, ("user_id", "u1"), ("email", "a@example.com"), ("email", "b@example.com"))
    two = make_person(cast.space, ("user_id", "u2"))
    change(audience, entered=[one, two])
    answer = cast.browser("read_only").get(url(cast, f"audiences/{audience.public_id}"))
    known = {row.type: (row.profiles, row.percent, row.values) for row in answer.context["identifiers"]}
    assert known == {"user_id": (2, 100.0, 2), "email": (1, 50.0, 2)}
    assert [(row.entered, row.left, row.size) for row in answer.context["changes"]] == [(2, 0, 2)]
    assert "<svg" in answer.content.decode()
    assert "No destination yet" in answer.content.decode()


def test_an_audience_shows_some_of_its_people_and_that_a_replay_is_running(cast: Cast, audience: Audience) -> None:
    change(audience, entered=[make_person(cast.space, ("user_id", f"u{n}")) for n in range(9)])
    place = f"audiences/{audience.public_id}"
    page = cast.browser("read_only").get(url(cast, place))
    assert len(page.context["people"]) == 6
    assert "6 of 9" in page.content.decode()
    assert "A replay is running" not in page.content.decode()
    times = {"since": BORN, "until": BORN, "total": 10}
    Replay.objects.create(workspace=cast.workspace, space=cast.space, state=Replay.State.RUNNING, **times)
    assert "A replay is running" in text(cast, place, "read_only")
    draft = drafts.begin(cast.space, cast.people["user"])
    assert "A replay is running" in text(cast, f"audiences/drafts/{draft.public_id}/review", "user")


def test_a_new_audience_says_how_far_its_first_compute_is(cast: Cast) -> None:
    made = AudienceFactory(space=cast.space, computed=False)
    Version.objects.create(workspace=cast.workspace, audience=made, number=1, definition=DEFINITION)
    page = cast.browser("user").get(url(cast, f"audiences/{made.public_id}"))
    assert [step.state for step in page.context["steps"]] == ["done", "now", "ahead"]
    assert "hx-trigger" in page.content.decode()
    Version.objects.update(state=Version.State.CATCHING_UP)
    page = cast.browser("user").get(url(cast, f"audiences/{made.public_id}"))
    assert [step.state for step in page.context["steps"]] == ["done", "done", "now"]


def test_its_members_are_a_file_for_whoever_may_use_the_space(cast: Cast, audience: Audience) -> None:
    change(audience, entered=[make_person(cast.space, ("user_id", "u1"), ("email", "=a@example.com"))])
    place = f"audiences/{audience.public_id}/members.csv"
    lines = b"".join(cast.browser("admin").get(url(cast, place)).streaming_content).decode().splitlines()
    assert lines[0] == "profile_id,user_id,email,other_identifiers"
    assert lines[1].endswith(",u1,'=a@example.com,")
    assert cast.browser("user").get(url(cast, place)).status_code == 403


def test_an_audience_is_renamed_switched_off_and_deleted_by_its_name(cast: Cast, audience: Audience) -> None:
    place = f"audiences/{audience.public_id}"
    assert post(cast, f"{place}/settings", "user", name="", description="").status_code == 422
    assert post(cast, f"{place}/settings", "user", name="Buyers", description="who bought").status_code == 302
    audience.refresh_from_db()
    assert (audience.name, audience.key, audience.enabled) == ("Buyers", "shoppers", False)
    assert post(cast, place, "user", do="enable").status_code == 302
    assert post(cast, f"{place}/settings", "user", confirm="Shoppers of the week").status_code == 422
    assert post(cast, f"{place}/settings", "read_only", confirm="Buyers").status_code == 403
    assert post(cast, f"{place}/settings", "user", confirm="Buyers").status_code == 302
    assert cast.browser("user").get(url(cast, place)).status_code == 404


def test_several_destinations_are_connected_at_once_or_none(cast: Cast, audience: Audience) -> None:
    one, two = make_destination(cast.space), make_destination(cast.space, style="list")
    both = {"destination": [one.public_id, two.public_id], f"{two.public_id}-sendIdentify": "on"}
    place = f"audiences/{audience.public_id}/connect"
    assert post(cast, place, "user").status_code == 422
    wrong = post(cast, place, "user", **both)
    assert wrong.status_code == 422
    assert "At least one of identify and track" in wrong.content.decode()
    assert not Subscription.objects.exists()
    assert post(cast, place, "user", **both, **{f"{one.public_id}-sendIdentify": "on"}).status_code == 302
    assert Subscription.objects.filter(audience=audience).count() == 2


def test_a_subscription_says_who_differs_and_why_until_they_were_acknowledged(cast: Cast, audience: Audience) -> None:
    person = make_person(cast.space, ("user_id", "u1"))
    change(audience, entered=[person])
    row = make_subscription(audience, make_destination(cast.space))
    place = f"audiences/{audience.public_id}/destinations/{row.public_id}"
    page = text(cast, place, "read_only", q="u1")
    assert "Not sent yet" in page
    assert "Out, differs" in page
    delivered(row)
    page = text(cast, place, "read_only", q="user_id:u1")
    assert "None: everyone who should be there was acknowledged" in page
    assert "Should be there: <b>yes</b>" in page
    assert "entered, delivered" in page
    change(audience, left=[person])
    assert "Still there" in text(cast, place, "read_only")
    assert "Nobody has “u9”" in text(cast, place, "read_only", q="u9")


def test_a_subscription_is_resynced_paused_changed_and_disconnected(cast: Cast, audience: Audience) -> None:
    row = make_subscription(audience, make_destination(cast.space))
    place = f"audiences/{audience.public_id}/destinations/{row.public_id}"
    for do in ("resync", "resume", "disable"):
        assert post(cast, place, "user", do=do).status_code == 302
    row.refresh_from_db()
    assert (row.full, row.enabled) == (True, False)
    assert "Nothing goes out" not in text(cast, place)  # nobody is in the audience: nobody differs
    wrong = post(cast, place, "user", **{"options-enteredEvent": "In"})
    assert wrong.status_code == 422
    assert "sendTrack" in wrong.context["options"].errors
    filled = {"options-sendTrack": "on", "options-enteredEvent": "In", "options-exitedEvent": "Out"}
    assert post(cast, place, "user", **filled).status_code == 302
    row.refresh_from_db()
    assert (row.options["entered_event"], row.options["send_identify"]) == ("In", False)
    assert post(cast, place, "user", confirm="?").status_code == 422
    assert post(cast, place, "user", confirm=row.destination.name).status_code == 302
    assert not Subscription.objects.exists()


def test_the_log_is_filtered_by_destination_audience_outcome_and_person(cast: Cast, audience: Audience) -> None:
    change(audience, entered=[make_person(cast.space, ("user_id", f"u{n}")) for n in (1, 2)])
    row = make_subscription(audience, make_destination(cast.space))
    make_subscription(AudienceFactory(space=cast.space, name="Others"), make_destination(cast.space))
    delivered(row)

    def found(**query: str) -> int:
        return len(cast.browser("read_only").get(url(cast, "deliveries"), query).context["log"])

    assert found() == found(destination=row.destination.public_id) == found(audience=audience.public_id) == 2
    assert found(person="user_id:u1") == found(person="u1") == 1
    assert found(person="user_id:u9") == found(outcome="refused") == found(page="2") == 0
    others = Audience.objects.get(name="Others")
    assert found(audience=others.public_id) == 0


def test_a_draft_becomes_an_audience_that_goes_to_what_was_chosen(cast: Cast, draft: Draft) -> None:
    to = make_destination(cast.space)
    place = f"audiences/drafts/{draft.public_id}"
    filled = {"destination": to.public_id, f"{to.public_id}-sendTrack": "on", f"{to.public_id}-enteredEvent": ""}
    assert post(cast, f"{place}/destinations", "user", **filled).status_code == 422
    filled |= {f"{to.public_id}-enteredEvent": "In", f"{to.public_id}-exitedEvent": "Out"}
    assert post(cast, f"{place}/destinations", "user", **filled).url == url(cast, f"{place}/review")
    review = text(cast, f"{place}/review", "user")
    assert to.name in review
    assert "new_people" in review
    assert "Signed Up" in review
    assert "buyers" in text(cast, f"{place}/review", "user", name="Buyers")
    said = {"name": "Buyers", "description": "", "include_historical": "on"}
    assert post(cast, f"{place}/review", "user", act="check", **said).status_code == 302
    assert not Audience.objects.exists()
    answer = post(cast, f"{place}/review", "user", act="create", **said)
    made = Audience.objects.get()
    assert answer.url == url(cast, f"audiences/{made.public_id}")
    assert (made.name, made.key, made.subscriptions.get().options["entered_event"]) == ("Buyers", "buyers", "In")
    assert not Draft.objects.exists()


def test_whoever_makes_a_destination_on_the_way_comes_back_with_it_and_has_lost_nothing(
    cast: Cast, draft: Draft
) -> None:
    one = make_destination(cast.space)
    place = f"audiences/drafts/{draft.public_id}/destinations"
    filled = {"destination": one.public_id, f"{one.public_id}-sendTrack": "on", f"{one.public_id}-exitedEvent": "Out"}
    filled |= {f"{one.public_id}-enteredEvent": "Became a buyer"}
    catalog = post(cast, place, to="new", **filled).url
    assert catalog == f"{url(cast, 'destinations/catalog')}?next={quote_plus(url(cast, place))}"
    shown = text(cast, "destinations/catalog", next=url(cast, place))
    assert f"kind=catcher&amp;style=event&amp;next={quote_plus(url(cast, place))}" in shown
    answer = post(
        cast, "destinations/new?kind=catcher", name="Second", next=url(cast, place), **{"settings-style": "event"}
    )
    two = Destination.objects.get(name="Second")
    assert answer.url == f"{url(cast, place)}?destination={two.public_id}"
    page = cast.browser("user").get(answer.url)
    cards = {card.destination: card for group in page.context["groups"] for card in group.cards}
    assert {to: card.chosen for to, card in cards.items()} == {one: True, two: True}
    assert cards[one].options["enteredEvent"].value() == "Became a buyer"
    assert "New destination" in text(cast, place, "admin")
    assert "New destination" not in text(cast, place, "user")
    secret = post(cast, "destinations/new?kind=webhook", next=url(cast, place), **WEBHOOK)
    assert secret.context["next"].startswith(f"{url(cast, place)}?destination=dst_")
    assert post(cast, "destinations/new?kind=catcher", name="", next="https://evil.example/").status_code == 422
    assert (
        "evil"
        not in post(
            cast, "destinations/new?kind=catcher", name="X", next="https://evil.example/", **{"settings-style": "event"}
        ).url
    )


def test_the_same_holds_where_an_audience_that_exists_is_connected(cast: Cast, audience: Audience) -> None:
    one = make_destination(cast.space)
    place = url(cast, f"audiences/{audience.public_id}/connect")
    ticked = f"{place}?destination={one.public_id}"
    answer = post(cast, f"audiences/{audience.public_id}/connect", to="new", destination=one.public_id)
    assert answer.url == f"{url(cast, 'destinations/catalog')}?next={quote_plus(ticked)}"
    assert not Subscription.objects.exists()
    answer = post(cast, "destinations/new?kind=catcher", name="Second", next=ticked, **{"settings-style": "event"})
    page = cast.browser("user").get(answer.url)
    assert [card.chosen for group in page.context["groups"] for card in group.cards] == [True, True]


def test_what_was_entered_is_kept_by_whoever_goes_back_a_step(cast: Cast, draft: Draft) -> None:
    to = make_destination(cast.space)
    place = f"audiences/drafts/{draft.public_id}"
    filled = {"destination": to.public_id, f"{to.public_id}-sendIdentify": "on"}
    assert post(cast, f"{place}/destinations", to="audience-draft", **filled).url == url(cast, place)
    draft.refresh_from_db()
    assert [each["id"] for each in draft.destinations] == [to.public_id]
    said = {"name": "", "description": "Who came"}
    for page in ("audience-draft", "draft-destinations"):
        answer = post(cast, f"{place}/review", to=page, **said)
        assert answer.url == url(cast, place if page == "audience-draft" else f"{place}/destinations")
    draft.refresh_from_db()
    assert (draft.name, draft.description, draft.include_historical) == ("New people", "Who came", False)


def test_a_draft_without_a_name_or_with_conditions_that_are_not_complete_is_not_created(cast: Cast) -> None:
    blank = drafts.begin(cast.space, cast.people["user"])
    place = f"audiences/drafts/{blank.public_id}/review"
    assert "not complete yet" in text(cast, place, "user")
    assert post(cast, place, "user", act="create", name="").status_code == 422
    assert post(cast, place, "user", act="create", name="Somebody").status_code == 422
    assert not Audience.objects.exists()
    assert Draft.objects.get().name == "Somebody"


def test_what_is_not_ours_is_not_chosen(cast: Cast, audience: Audience, draft: Draft) -> None:
    theirs = make_destination(cast.other_space)
    assert post(cast, f"audiences/{audience.public_id}/connect", destination=theirs.public_id).status_code == 422
    drafts.keep(draft, destinations=[{"id": theirs.public_id, "options": {}}])
    post(cast, f"audiences/drafts/{draft.public_id}/review", act="create", name="Ours")
    assert not Subscription.objects.exists()
    assert Audience.objects.filter(name="Ours").exists()


@pytest.mark.parametrize("page", ["destinations", "audience", "connect", "deliveries"])
def test_the_queries_of_a_page_do_not_grow_with_its_rows(cast: Cast, audience: Audience, page: str) -> None:
    place = {"audience": f"audiences/{audience.public_id}", "connect": f"audiences/{audience.public_id}/connect"}

    def queries(rows: int) -> int:
        for _ in range(rows):
            to = make_destination(cast.space)
            if page != "connect":
                make_subscription(audience, to)
        change(audience, entered=[make_person(cast.space, ("user_id", str(n + rows * 100))) for n in range(rows)])
        with CaptureQueriesContext(connection) as seen:
            text(cast, place.get(page, page), "admin")
        return len(seen)

    queries(1)
    assert queries(2) == queries(10)


def test_a_new_one_is_called_at_once_and_it_is_said_what_came_of_it(cast: Cast, settings: Any) -> None:
    with receiving() as tool:
        settings.OUTBOUND_ALLOW = [tool.place]
        filled = WEBHOOK | {"settings-url": tool.url, "settings-signingSecret": "whsec_" + "MDEyMzQ1Njc4OWFi" * 2}
        good = cast.browser("admin").post(url(cast, "destinations/new?kind=webhook"), filled, follow=True)
        assert "Hook is ready: a first call was answered as it should be." in good.content.decode()
        assert [call.json["type"] for call in tool.got] == ["test"]
        tool.answer = lambda got: Reply(403, b"no such key: inside-the-address")
        bad = cast.browser("admin").post(url(cast, "destinations/new?kind=webhook"), filled, follow=True)
    said = bad.content.decode()
    assert "Hook is created, but a first call failed: 403 no such key" in said
    assert "inside-the-address" not in said
    assert Destination.objects.count() == 2


def test_of_an_address_only_the_host_is_shown_and_saving_it_so_keeps_it(cast: Cast) -> None:
    address = "https://hooks.example.com/services/T0001/a-long-key-inside?token=another"
    made = make_destination(cast.space, "webhook", url=address)
    place = f"destinations/{made.public_id}"
    for who in ("admin", "user", "read_only"):
        page = text(cast, place, who=who)
        assert f"https://hooks.example.com/{MASK}" in page
        assert "a-long-key-inside" not in page
    filled = WEBHOOK | {"settings-url": f"https://hooks.example.com/{MASK}", "settings-batchSize": "7"}
    filled["settings-signingSecret"] = MASK
    assert post(cast, place, **filled).status_code == 302
    made.refresh_from_db()
    assert (settings_of(made).url, settings_of(made).batch_size) == (address, 7)
    wrong = post(cast, place, **(filled | {"settings-url": f"https://other.example.com/{MASK}"}))
    assert wrong.status_code == 422
    assert "Give all of it, without the dots" in wrong.content.decode()
