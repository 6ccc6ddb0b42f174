"""Pages about sources: of the workspace, and those that a space listens to."""

import json
import re

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access.models import AuditEntry
from personas_site import pipeline
from sources import services
from sources.events import archive_table
from sources.models import Connection, Consumed, Inbox, Reject, Replay, Source, WriteKey
from sources.services import create_source
from spaces.clock import clock
from tests.factories import SourceFactory
from tests.factories_identity import archived as put_in_archive
from tests.factories_identity import message
from tests.factories_sources import ConnectionFactory, EventNameFactory, RejectFactory, ReplayFactory, archive_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def source(cast):
    return create_source(cast.workspace, name="Website", kind="website")


def ws(cast, rest=""):
    return f"/w/{cast.workspace.slug}/sources{rest}"


def of(cast, source, rest=""):
    return ws(cast, f"/{source.public_id}{rest}")


def sp(cast, rest=""):
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/sources{rest}"


def get(cast, where, who="owner", **query):
    answer = cast.browser(who).get(where, query)
    assert answer.status_code == 200, where
    return answer.content.decode()


def recent(cast, source, *, event="Seen", days=1, **fields):
    """One archived event of some days ago."""
    at = clock.now().timestamp() * 1000 - days * 86_400_000
    noon = 1_781_524_800_000  # 15 June 2026, 12:00 UTC
    put_in_archive(source, message(event=event, userId="u1", at=int(at) - noon, **fields))


def test_a_space_is_connected_to_sources_with_check_boxes(cast, source):
    app = create_source(cast.workspace, name="App")
    recent(cast, source)
    recent(cast, source, days=40)
    page = get(cast, sp(cast, "/connect"), "admin")
    assert re.search(r"Website.*?<b>1</b>", page, re.S)
    answer = cast.browser("admin").post(
        sp(cast, "/connect"), {"sources": [source.public_id, app.public_id], "replay": "on", "days": "30"}
    )
    assert answer.headers["Location"] == sp(cast)
    assert Connection.objects.filter(space=cast.space).count() == 2
    assert Replay.objects.get().total == 1
    assert AuditEntry.objects.filter(action="space.connected").exists()
    assert "Nothing is left to connect" in get(cast, sp(cast, "/connect"))


def test_the_days_of_a_replay_are_those_asked_for_and_it_can_be_left_out(cast, source):
    recent(cast, source, days=40)
    cast.browser("admin").post(sp(cast, "/connect"), {"sources": [source.public_id], "replay": "on", "days": "60"})
    assert Replay.objects.get().total == 1
    other = create_source(cast.workspace, name="App")
    cast.browser("admin").post(sp(cast, "/connect"), {"sources": [other.public_id], "days": ""})
    assert Connection.objects.get(source=other).state == Connection.State.LIVE
    assert Replay.objects.count() == 1


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"replay": "on", "days": "30"}, "Choose at least one source."),
        ({"sources": ["src_of_nobody"], "days": "30"}, "not one of the available choices"),
        ({"sources": [""], "days": "0"}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_choice_is_said_and_nothing_is_connected(cast, source, sent, error):
    answer = cast.browser("admin").post(sp(cast, "/connect"), sent)
    assert answer.status_code == 422
    assert error in answer.content.decode()
    assert not Connection.objects.exists()


def test_what_was_typed_is_kept_when_something_is_wrong(cast, source):
    sent = {"sources": [source.public_id], "replay": "on", "days": "99999"}
    page = cast.browser("admin").post(sp(cast, "/connect"), sent).content.decode()
    assert re.search(rf'value="{source.public_id}"[^>]*checked', page)
    assert 'value="99999"' in page


def test_a_source_of_another_workspace_cannot_be_connected(cast):
    theirs = create_source(cast.other_workspace, name="Theirs")
    assert "Theirs" not in get(cast, sp(cast, "/connect"))
    assert cast.browser("owner").post(sp(cast, "/connect"), {"sources": [theirs.public_id]}).status_code == 422
    assert not Connection.objects.exists()


def test_a_space_disconnects_after_it_was_asked_and_can_connect_again(cast, source):
    made = ConnectionFactory(space=cast.space, source=source)
    where = sp(cast, f"/{made.public_id}/disconnect")
    assert "will no longer listen to Website" in get(cast, where, "admin")
    made.refresh_from_db()
    assert made.state == Connection.State.LIVE
    cast.browser("admin").post(where)
    made.refresh_from_db()
    assert made.state == Connection.State.DISCONNECTED
    assert cast.browser("admin").get(where).status_code == 404
    assert "was connected before" in get(cast, sp(cast, "/connect"), "admin")


def test_a_replay_is_cancelled_after_it_was_asked(cast, source):
    replay = ReplayFactory(space=cast.space, total=1000, done=10)
    ConnectionFactory(space=cast.space, source=source, replay=replay, state=Connection.State.REPLAYING)
    where = sp(cast, f"/replays/{replay.public_id}/cancel")
    assert "10 of 1,000" in get(cast, where, "admin")
    cast.browser("admin").post(where)
    replay.refresh_from_db()
    assert replay.state == Replay.State.CANCELLED
    assert Connection.objects.get().state == Connection.State.LIVE
    assert "nothing to cancel" in get(cast, where, "admin")
    cast.browser("admin").post(where)
    assert AuditEntry.objects.filter(action="replay.cancelled").count() == 1


def test_a_replay_that_is_complete_is_announced_with_a_way_to_the_profiles(cast, source):
    replay = ReplayFactory(space=cast.space, total=12, done=12, state="complete", finished_at=clock.now())
    ConnectionFactory(space=cast.space, source=source, replay=replay)
    page = get(cast, sp(cast), "read_only")
    assert re.search(r"Replay complete.*12 events of Website.*See the profiles", page, re.S)
    ReplayFactory(space=cast.space, total=5)
    assert "Replay complete" not in get(cast, sp(cast), "read_only")


def test_more_of_the_past_is_replayed_from_the_list(cast, source):
    put_in_archive(source, message(userId="u"))
    services.connect(cast.space, [source], replay=False, clock=clock)
    url = sp(cast, f"/{Connection.objects.get().public_id}/replay")
    assert url in get(cast, sp(cast))
    assert "Replay more of Website" in get(cast, url)
    browser = cast.browser("admin")
    assert browser.post(url, {"days": "0"}).status_code == 422
    assert "A replay of 1 events has begun" in browser.post(url, {"days": "1000"}, follow=True).content.decode()
    refused = browser.post(url, {"days": "1000"})
    assert (refused.status_code, Replay.objects.count()) == (422, 1)
    assert "is being replayed" in refused.content.decode()
    assert cast.browser("user").post(url, {"days": "9"}).status_code == 403
    Replay.objects.update(state=Replay.State.CANCELLED)
    assert "cancelled, 0 of 1 events" in get(cast, url)
    Consumed.objects.update(key=None)
    done = browser.post(url, {"days": "1000"}, follow=True).content.decode()
    assert "has all events of Website of the last 1,000 days" in done


def test_pages_of_audiences_warn_while_a_replay_runs(cast, source):
    where = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences"
    assert "A replay is running" not in get(cast, where)
    replay = ReplayFactory(space=cast.space, total=5)
    assert "A replay is running" in get(cast, where)
    Replay.objects.filter(pk=replay.pk).update(state=Replay.State.COMPLETE)
    assert "A replay is running" not in get(cast, where)


def test_who_may_only_look_sees_no_controls(cast, source):
    made = ConnectionFactory(space=cast.space, source=source, replay=ReplayFactory(space=cast.space, total=9))
    page = get(cast, sp(cast), "read_only")
    for control in ("/connect", "/disconnect", "/cancel", of(cast, source)):
        assert control not in page
    for rest in ("/connect", f"/{made.public_id}/disconnect", f"/replays/{made.replay.public_id}/cancel"):
        assert cast.browser("read_only").post(sp(cast, rest)).status_code == 403
    page = get(cast, ws(cast), "admin")
    assert "Website" in page
    assert "/sources/new" not in page
    assert "Settings of the source" not in get(cast, of(cast, source), "admin")
    for rest in ("/settings", "/delete", f"/set-up/keys/{WriteKey.objects.get().key}/remove"):
        assert cast.browser("admin").get(of(cast, source, rest)).status_code == 403
    assert cast.browser("admin").post(of(cast, source, "/set-up")).status_code == 403


def test_the_list_of_sources_is_filtered_sorted_and_downloaded(cast, source):
    create_source(cast.workspace, name="App")
    page = cast.browser("owner").get(ws(cast), {"sort": "-name"})
    assert [row["source"].name for row in page.context["rows"]] == ["Website", "App"]
    page = cast.browser("owner").get(ws(cast), {"q": "web"})
    assert [row["source"].name for row in page.context["rows"]] == ["Website"]
    assert "No source has this in its name" in get(cast, ws(cast), q="nothing")
    answer = cast.browser("owner").get(ws(cast), {"format": "csv"})
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert lines[1].split(",")[1:5] == ["App", "http", "yes", "0"]


def test_a_source_is_made_with_a_write_key_and_leads_to_its_set_up(cast):
    answer = cast.browser("owner").post(ws(cast, "/new"), {"name": "Website", "kind": "website"})
    made = Source.objects.get()
    assert answer.headers["Location"] == of(cast, made, "/set-up")
    assert (made.kind, made.write_keys.count()) == ("website", 1)
    answer = cast.browser("owner").post(ws(cast, "/new"), {"name": "", "kind": "boat"})
    assert answer.status_code == 422
    assert "This field is required." in answer.content.decode()
    assert cast.browser("admin").get(ws(cast, "/new")).status_code == 403


def test_write_keys_are_masked_until_revealed_and_only_for_those_who_may_edit(cast, source):
    key = source.write_keys.get().key
    page = get(cast, of(cast, source, "/set-up"))
    assert f'data-secret="{key}"' in page
    assert f">{key}<" not in page
    assert "http://testserver/v1/track" in page
    assert f">{key}<" in get(cast, of(cast, source, "/set-up"), reveal="1")
    page = get(cast, of(cast, source, "/set-up"), "admin", reveal="1")
    assert key not in page
    assert key not in get(cast, of(cast, source, "/debugger"), "admin")
    assert "YOUR_WRITE_KEY" in get(cast, of(cast, source, "/debugger"), "admin")
    assert "YOUR_WRITE_KEY" in page


def test_a_write_key_is_added_and_another_removed(cast, source):
    old = source.write_keys.get().key
    cast.browser("owner").post(of(cast, source, "/set-up"))
    assert source.write_keys.count() == 2
    where = of(cast, source, f"/set-up/keys/{old}/remove")
    assert "only key" not in get(cast, where)
    cast.browser("owner").post(where)
    assert source.write_keys.exclude(key=old).count() == source.write_keys.count() == 1
    assert cast.browser("owner").post(where).status_code == 404


def test_the_settings_of_a_source_are_changed(cast, source):
    where = of(cast, source, "/settings")
    assert 'value="Website"' in get(cast, where)
    cast.browser("owner").post(where, {"name": "Shop", "kind": "server", "correct_clocks": "on"})
    source.refresh_from_db()
    assert (source.name, source.kind, source.enabled, source.correct_clocks) == ("Shop", "server", False, True)
    answer = cast.browser("owner").post(where, {"name": "", "kind": "server"})
    assert answer.status_code == 422
    assert "disabled" in get(cast, of(cast, source))


def test_a_source_is_deleted_only_when_its_name_was_typed(cast, source):
    ConnectionFactory(space=cast.space, source=source)
    where = of(cast, source, "/delete")
    assert "1 space no longer listens" in get(cast, where)
    answer = cast.browser("owner").post(where, {"confirm": "website"})
    assert answer.status_code == 422
    assert Source.objects.filter(pk=source.pk).exists()
    assert cast.browser("owner").post(where, {"confirm": "Website"}).headers["Location"] == ws(cast)
    assert not Source.objects.filter(pk=source.pk).exists()


def test_the_overview_shows_events_by_day_and_by_name(cast, source):
    assert "Nothing was sent yet" in get(cast, of(cast, source))
    recent(cast, source)
    recent(cast, source, days=40)
    EventNameFactory(source=source, event="Seen", archived=1234)
    ConnectionFactory(space=cast.space, source=source)
    page = get(cast, of(cast, source))
    assert "1 in the last 30 days" in page
    assert "1,234" in page
    assert cast.space.name in page
    answer = cast.browser("owner").get(of(cast, source), {"format": "csv"})
    assert b"track,Seen,1234" in b"".join(answer.streaming_content)


def test_the_debugger_shows_the_newest_messages_first_pretty_and_raw(cast, source):
    recent(cast, source, event="Old")
    recent(cast, source, event="New", properties={"sku": "boot", "of": {"size": 42}})
    answer = cast.browser("admin").get(of(cast, source, "/debugger"))
    assert [row["name"] for row in answer.context["rows"]] == ["New", "Old"]
    page = answer.content.decode()
    assert "of.size" in page
    assert "&quot;size&quot;: 42" in page
    assert 'hx-trigger="every 2s"' in page
    assert 'hx-trigger="every 2s"' not in get(cast, of(cast, source, "/debugger"), live="0")


def test_the_debugger_says_which_messages_stay_out_of_spaces(cast, source):
    recent(cast, source, event="In")
    recent(cast, source, event="Out", integrations={"Personas": False})
    answer = cast.browser("admin").get(of(cast, source, "/debugger"))
    assert [(row["name"], row["stays_out"]) for row in answer.context["rows"]] == [("Out", True), ("In", False)]
    assert answer.content.decode().count("Kept out of spaces") == 1


def test_the_debugger_is_searched_by_any_text_and_by_type(cast, source):
    recent(cast, source, event="Seen", properties={"sku": "Boot"})
    put_in_archive(source, message("identify", userId="u2", traits={"name": "Ada"}))

    def names(**query):
        return [row["type"] for row in cast.browser("owner").get(of(cast, source, "/debugger"), query).context["rows"]]

    assert names(q="BOOT") == ["track"]
    assert names(q="ada") == ["identify"]
    assert names(type=["track", "identify"]) == ["identify", "track"]
    assert names(type=["page"]) == []
    assert names(type=["nonsense"]) == ["identify", "track"]
    assert "No message has this in it" in get(cast, of(cast, source, "/debugger"), q="'; DROP TABLE archive --%s")


def test_the_live_list_asks_only_for_what_is_newer(cast, source):
    recent(cast, source, event="First")
    page = cast.browser("owner").get(of(cast, source, "/debugger"))
    poll = page.context["poll"]
    assert poll.endswith("after=1.0")
    assert cast.browser("owner").get(poll).context["poll"] == poll
    recent(cast, source, event="Second")
    answer = cast.browser("owner").get(poll)
    assert [row["name"] for row in answer.context["rows"]] == ["Second"]
    assert answer.context["poll"].endswith("after=2.0")
    assert "<html" not in answer.content.decode()


def test_the_live_list_says_when_more_came_than_it_shows(cast, source):
    recent(cast, source)
    poll = cast.browser("owner").get(of(cast, source, "/debugger")).context["poll"]
    put_in_archive(source, *[message(event=f"e{number}") for number in range(99)])
    assert "More messages arrived" not in get(cast, poll)
    put_in_archive(source, message(), message())
    answer = get(cast, poll)
    assert answer.count('class="message"') == 100
    assert "More messages arrived" in answer


def test_an_empty_debugger_says_how_to_send_a_first_event(cast, source):
    page = get(cast, of(cast, source, "/debugger"))
    assert "No message yet" in page
    assert source.write_keys.get().key in page
    poll = cast.browser("owner").get(of(cast, source, "/debugger")).context["poll"]
    recent(cast, source)
    assert '<ul class="events messages"' in get(cast, poll)


def test_older_messages_are_leafed_through_and_searched_further_back(cast, source):
    put_in_archive(source, *[message(event=f"e{number}", sku="rare" if not number else "") for number in range(230)])
    where = of(cast, source, "/debugger")

    def shown(address, **query):
        answer = cast.browser("owner").get(address, query)
        return answer, [row["name"] for row in answer.context["rows"]]

    first, names = shown(where)
    assert names[:2] == ["e229", "e228"]
    assert "Newest</a>" not in first.content.decode()
    second, names = shown(first.context["pager"].next)
    assert names == [f"e{number}" for number in range(129, 29, -1)]
    page = second.content.decode()
    assert 'hx-trigger="every 2s"' not in page
    assert "Older messages, newest first" in page
    third, names = shown(second.context["pager"].next)
    assert names[-1] == "e0"
    assert third.context["pager"].next == ""
    back, names = shown(third.context["pager"].previous)
    assert (names[0], back.context["live"]) == ("e229", True)
    found, names = shown(where, q="rare", type="track", live="0")
    assert names == ["e0"]
    assert found.context["pager"].next == ""
    assert "This is where the archive of the source begins" in get(cast, where, before="1.0")


def test_a_search_that_finds_nothing_leads_further_back_while_there_is_more(cast, source, monkeypatch):
    monkeypatch.setattr(archive_table, "LOOKED_AT", 3)
    put_in_archive(source, *[message(event=f"e{number}", sku="rare" if not number else "") for number in range(6)])
    answer = cast.browser("owner").get(of(cast, source, "/debugger"), {"q": "rare"})
    assert "Look at older ones" in answer.content.decode()
    further = cast.browser("owner").get(answer.context["pager"].next)
    assert [row["name"] for row in further.context["rows"]] == ["e0"]


def test_a_test_event_wakes_the_archive_stage_as_any_event_does(cast, source, monkeypatch):
    sent = []
    monkeypatch.setattr(pipeline.work, "apply_async", lambda args, **_: sent.append(args))
    cast.browser("owner").post(of(cast, source, "/debugger"))
    assert sent == [("archive",)]


def test_a_test_event_goes_the_way_of_any_other(cast, source):
    where = of(cast, source, "/debugger")
    assert "Send a test event" not in get(cast, where, "admin")
    assert cast.browser("admin").post(where).status_code == 403
    assert cast.browser("owner").post(where).headers["Location"] == where
    archive_all(source)
    assert "Test Event" in get(cast, where)
    Source.objects.filter(pk=source.pk).update(enabled=False)
    assert "Send a test event" not in get(cast, where)
    assert "This source is disabled" in get(cast, where)
    cast.browser("owner").post(where)
    archive_all(source)
    assert "source_disabled" in get(cast, where, show="rejected")


def test_the_debugger_shows_nothing_of_a_piece_that_was_given_up(cast, source):
    put_in_archive(source, message(event="Kept"))
    put_in_archive(source, message(event="Given up"), abandoned=True)
    assert "Given up" not in get(cast, of(cast, source, "/debugger"))


def test_rejected_messages_are_shown_with_code_reason_path_and_message(cast, source):
    assert "Nothing was rejected" in get(cast, of(cast, source, "/debugger"), show="rejected")
    RejectFactory(source=source, message=json.dumps({"event": "<b>mean</b>"}))
    RejectFactory(source=source, message="no json {", messages=12)
    page = get(cast, of(cast, source, "/debugger"), show="rejected")
    for said in ("id_required", "A message needs a", "batch[0].userId", "no json {", "12 messages"):
        assert said in page
    assert "<b>mean</b>" not in page


def a_reject_of(cast, source, number, **fields):
    """One that the space could not resolve."""
    return RejectFactory(source=source, space=cast.space, piece=1, position=number, code="no_identifiers", **fields)


def test_rejects_are_driven_again_singly_and_all_that_match(cast, source):
    RejectFactory(source=source, message="{}")
    first = a_reject_of(cast, source, 0, message='{"plan": "pro"}')
    a_reject_of(cast, source, 1, message='{"plan": "pro"}')
    a_reject_of(cast, source, 2, message='{"plan": "free"}')
    page, where = get(cast, of(cast, source, "/debugger"), show="rejected"), of(cast, source, "/debugger/rejected")
    assert page.count("Retry<") == 3
    assert f"not resolved in the space {cast.space.name}" in page
    assert "Retry all" in page
    seen = get(cast, of(cast, source, "/debugger"), "admin", show="rejected")
    assert "rive again" not in seen
    assert "all again" not in seen
    assert cast.browser("admin").post(where, {"reject": first.pk}).status_code == 403
    answer = cast.browser("owner").post(where, {"reject": first.pk}, follow=True)
    assert "One message is being retried" in answer.content.decode()
    assert "A retry is waiting" in answer.content.decode()
    answer = cast.browser("owner").post(where, {"reject": first.pk}, follow=True)
    assert "nothing to retry" in answer.content.decode()
    answer = cast.browser("owner").post(where, {"q": "PRO", "code": "no_identifiers"})
    assert answer.headers["Location"].endswith("?show=rejected&code=no_identifiers&q=PRO")
    assert sorted(Reject.objects.filter(again=True).values_list("position", flat=True)) == [0, 1]
    assert AuditEntry.objects.filter(action="source.rejects_retried").count() == 2


def test_what_came_in_a_request_goes_into_the_inbox_once_more(cast, source, monkeypatch):
    woken = []
    cache.clear()  # nobody else's wake-up is pending
    monkeypatch.setattr(pipeline.work, "apply_async", lambda args, **_: woken.append(args))
    sent = {"messageId": "m", "event": "E", "userId": "u"}
    reject = RejectFactory(
        source=source, code="unstorable", path="", call="track", whole=True, message=json.dumps(sent)
    )
    cast.browser("owner").post(of(cast, source, "/debugger/rejected"), {"reject": reject.pk})
    assert woken == [("archive",)]
    waiting = Inbox.objects.get(source=source)
    assert (json.loads(bytes(waiting.body)), waiting.call, waiting.received_at) == (sent, "track", reject.received_at)
    assert not Reject.objects.exists()


def rejected(cast, source, **query):
    answer = cast.browser("owner").get(of(cast, source, "/debugger"), {"show": "rejected"} | query)
    assert answer.status_code == 200
    return answer, [row["reject"].code for row in answer.context["rows"]]


def test_rejected_messages_are_searched_by_code_and_by_any_text(cast, source):
    RejectFactory(source=source, code="id_required", message='{"event": "Seen"}', message_id="m-77")
    RejectFactory(source=source, code="event_not_defined", path="batch[7].event", message='{"userId": "Ada"}')
    RejectFactory(source=create_source(cast.workspace, name="App"), code="of_another", message='{"userId": "Ada"}')
    assert rejected(cast, source)[1] == ["event_not_defined", "id_required"]
    assert rejected(cast, source, code="id_required")[1] == ["id_required"]
    assert rejected(cast, source, q="ADA")[1] == ["event_not_defined"]
    assert rejected(cast, source, q="batch[7]")[1] == ["event_not_defined"]
    assert rejected(cast, source, q="m-77")[1] == ["id_required"]
    answer, found = rejected(cast, source, q="ada", code="id_required")
    page = answer.content.decode()
    assert found == []
    assert "No rejected message has this in it" in page
    assert re.search(r'<option value="id_required" selected>id_required \(1\)', page)
    assert "of_another" not in page
    assert rejected(cast, source, q="%")[1] == []


def test_older_rejected_messages_are_leafed_through_with_the_same_search(cast, source):
    for number in range(210):
        RejectFactory(source=source, code="odd" if number % 2 else "even", message=json.dumps({"n": number}))
    answer, found = rejected(cast, source)
    assert len(found) == 100
    second = cast.browser("owner").get(answer.context["pager"].next)
    assert json.loads(second.context["rows"][0]["raw"]) == {"n": 109}
    assert second.context["live"] is False
    third = cast.browser("owner").get(second.context["pager"].next)
    assert (len(third.context["rows"]), third.context["pager"].next) == (10, "")
    answer, _ = rejected(cast, source, code="odd")
    last = cast.browser("owner").get(answer.context["pager"].next)
    assert [json.loads(row["raw"])["n"] for row in last.context["rows"]] == [9, 7, 5, 3, 1]
    assert "This is where the list begins" in rejected(cast, source, before="1")[0].content.decode()


def test_a_search_of_rejected_messages_leads_further_back_while_there_is_more(cast, source, monkeypatch):
    monkeypatch.setattr(archive_table, "LOOKED_AT", 3)
    for number in range(6):
        RejectFactory(source=source, message=json.dumps({"sku": "" if number else "rare"}))
    answer, found = rejected(cast, source, q="rare")
    assert found == []
    assert "Look at older ones" in answer.content.decode()
    further = cast.browser("owner").get(answer.context["pager"].next)
    assert (len(further.context["rows"]), further.context["pager"].next) == (1, "")


def test_rejected_messages_arrive_live_until_paused(cast, source):
    answer, _ = rejected(cast, source)
    empty = answer.context["poll"]
    assert empty.endswith("/debugger/rejected?")
    assert 'hx-trigger="every 2s"' in answer.content.decode()
    RejectFactory(source=source, code="first")
    assert '<ul class="events messages"' in get(cast, empty)
    answer, _ = rejected(cast, source, q="a")
    poll = answer.context["poll"]
    RejectFactory(source=source, code="second")
    RejectFactory(source=source, code="xxx", reason="", path="", message="0")
    arrived = cast.browser("admin").get(poll)
    assert [row["reject"].code for row in arrived.context["rows"]] == ["second"]
    assert "<html" not in arrived.content.decode()
    assert [row["reject"].code for row in cast.browser("admin").get(arrived.context["poll"]).context["rows"]] == []
    assert 'hx-trigger="every 2s"' not in rejected(cast, source, live="0")[0].content.decode()


def test_ids_of_another_workspace_are_not_found(cast, source):
    theirs = create_source(cast.other_workspace, name="Theirs")
    for rest in ("", "/set-up", "/debugger", "/debugger/messages", "/debugger/rejected", "/settings", "/delete"):
        assert cast.browser("owner").get(of(cast, theirs, rest)).status_code == 404
        assert cast.browser("owner").post(of(cast, theirs, rest), {"confirm": "Theirs"}).status_code == 404
    key = theirs.write_keys.get().key
    assert cast.browser("owner").post(of(cast, source, f"/set-up/keys/{key}/remove")).status_code == 404
    assert WriteKey.objects.filter(key=key).exists()


def test_pages_about_sources_cost_the_same_queries_for_few_rows_and_for_many(cast, source):
    def cost(where):
        with CaptureQueriesContext(connection) as asked:
            get(cast, where)
        return len(asked)

    def furnish(rows):
        for number in range(rows):
            ConnectionFactory(space=cast.space, source=create_source(cast.workspace, name=f"S{number}"))
            SourceFactory(workspace=cast.workspace)
            EventNameFactory(source=source)
            RejectFactory(source=source)
            recent(cast, source)
            source.write_keys.create(workspace=cast.workspace)

    tabs = ("", "/set-up", "/debugger", "/debugger?show=rejected", "/settings", "/delete")
    places = [ws(cast), sp(cast), sp(cast, "/connect"), *(of(cast, source, tab) for tab in tabs)]
    furnish(2)
    few = [cost(place) for place in places]
    furnish(12)
    assert [cost(place) for place in places] == few
