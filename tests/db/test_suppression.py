"""Messages about the suppressed die before they are archived, and are counted; those about others are as ever."""

import json

import pytest
from django.db import connection, transaction

from sources.archive import Archive
from sources.models import EventName, Reject, Suppression
from sources.queries import count_messages
from sources.suppression import suppress, suppressed, suppressed_messages, unsuppress
from spaces.batches import advance
from spaces.models import Batch
from tests.factories import SourceFactory
from tests.factories_sources import RECEIVED_AT, archive_all, ids_in_archive, log_of, send, tally, track

pytestmark = pytest.mark.django_db


@pytest.fixture
def source():
    return SourceFactory()


def forget(source, *identifiers):
    suppress(source.workspace_id, identifiers, now=RECEIVED_AT)


def dropped(source):
    return count_messages([source])[source.pk].suppressed


def test_a_message_that_carries_a_suppressed_identifier_is_counted_and_kept_nowhere(source):
    forget(source, ("email", "Ada@x.org"), ("loyalty_id", "7"))
    send(
        source,
        track(messageId="a", event="Secret", traits={"email": "ada@X.org"}),
        track(messageId="b"),
        track(messageId="c", properties={"loyaltyId": 7}),
        {"type": "track", "traits": {"email": "ada@x.org"}},  # without an id it would be a reject
    )
    archive_all(source)
    assert ids_in_archive(source) == ["b"]
    assert (tally(source), dropped(source)) == ((1, 0, 0), 3)
    assert not Reject.objects.exists()
    assert not EventName.objects.filter(event="Secret").exists()


def test_other_workspaces_hear_of_them_as_before(source):
    other = SourceFactory()
    forget(source, ("user_id", "u1"))
    send(other, track(messageId="a"))
    archive_all(other)
    assert (ids_in_archive(other), dropped(other)) == (["a"], 0)


def test_whoever_is_no_longer_suppressed_is_heard_and_may_send_again_what_was_dropped(source):
    forget(source, ("user_id", "u1"), ("user_id", "u2"))
    send(source, track(messageId="a"))
    archive_all(source)
    assert unsuppress(source.workspace_id, [("user_id", "u1"), ("user_id", "u9")]) == 1
    assert suppressed(source.workspace_id, [("user_id", "u1"), ("user_id", "u2")]) == [False, True]
    send(source, track(messageId="a"), track(messageId="b", userId="u2"))
    archive_all(source)
    assert ids_in_archive(source) == ["a"]
    assert dropped(source) == 2


def test_the_list_does_not_say_who_is_on_it(source):
    forget(source, ("email", "planted-value@x.org"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT s::text || k::text FROM sources_suppression s, sources_suppressionkey k")
        (text,) = cursor.fetchone()
    assert "planted" not in text
    assert len(bytes(Suppression.objects.get().hash)) == 16


def test_the_same_messages_are_dropped_when_a_batch_is_written_again(source):
    """Whoever is suppressed, or no longer, between Prepare and Write changes nothing of the batch."""
    stage = Archive()
    forget(source, ("user_id", "u1"))
    send(source, track(messageId="a"), track(messageId="b", userId="u2"))
    stage.write = lambda *_: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        advance(stage, log_of(source))
    assert Batch.objects.exists()
    unsuppress(source.workspace_id, [("user_id", "u1")])
    forget(source, ("user_id", "u2"))
    log_of(source).__class__.objects.update(retry_at=None)
    archive_all(source)
    assert ids_in_archive(source) == ["b"]
    assert (tally(source), dropped(source)) == ((1, 0, 0), 1)


def test_parts_of_a_batch_drop_and_count_their_own(source):
    stage = Archive()
    forget(source, ("user_id", "u1"))
    send(source, track(messageId="a"), track(messageId="b", userId="u2"))
    send(source, track(messageId="c", userId="u2"), track(messageId="d"), track(messageId="e", userId="u2"))
    log = log_of(source)
    with transaction.atomic():
        prepared = stage.prepare(log, stage.read(log, 10), 1)
    by_rows = stage.split(prepared)
    of_one = stage.split(by_rows[1])
    parts = [by_rows[0], *of_one]
    outcomes = [stage.write(log, part, 10 + number) for number, part in enumerate(parts)]
    assert [sorted(message.message_id for message in outcome.archived) for outcome in outcomes] == [["b"], ["c"], ["e"]]
    assert [outcome.suppressed for outcome in outcomes] == [1, 0, 1]
    assert sum(outcome.doubled for outcome in outcomes) == 0


def test_a_source_of_a_workspace_without_suppressed_people_costs_one_query_more(source, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert suppressed_messages(source.workspace_id, [json.dumps(track())] * 100) == set()
