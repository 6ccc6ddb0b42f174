"""Alerts from what is wrong to what arrives: looked at, told once, told again when it is over, tried again."""

from datetime import timedelta

import pytest
from pyroaring import BitMap

from alerts import sending, services, watching
from alerts.models import AlertNotification, AlertOccurrence, AlertRule
from audiences.models import Change, Version
from personas_site.pipeline import WORK
from spaces.settings_schema import InvalidSetting
from tests.cast import make_cast
from tests.factories_destinations import AudienceFactory, make_destination, make_subscription
from tests.factories_identity import NOON
from tests.receiver import Reply, receiving

pytestmark = pytest.mark.django_db

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def cast():
    return make_cast()


@pytest.fixture
def receiver(settings):
    with receiving() as receiver:
        settings.OUTBOUND_ALLOW = [receiver.place]
        yield receiver


def channel(cast, kind, **settings):
    return services.create_channel(cast.space, kind=kind, name=kind, settings=settings, by=cast.people["admin"])


def rule(cast, kind, *channels, **fields):
    options = fields.pop("options", {})
    return services.create_rule(
        cast.space, kind=kind, name="Watch", options=options, channels=channels, by=cast.people["admin"], **fields
    )


def sized(cast, name, size, *, before=None):
    """An audience of this size, of which there were `before` people two days ago."""
    audience = AudienceFactory(space=cast.space, name=name, size=size)
    if before is not None:
        changed(audience, before, NOON - 2 * DAY, 1)
    return audience


def changed(audience, size, at, tick):
    empty = BitMap().serialize()
    shared = {"entered": empty, "left": empty, "refreshed": empty, "cause": Change.Cause.EVENTS}
    Change.objects.create(
        workspace=audience.workspace, space=audience.space, audience=audience, at=at, tick=tick, size=size, **shared
    )


def looked(cast, at):
    """The space is looked at if it is due, and what waits is sent."""
    if cast.space.pk in watching.due(at):
        watching.look(cast.space.pk, at)
    for pk in sending.due(at):
        sending.send(pk, at)


def findings(cast, kind, at=NOON, **options):
    made = rule(cast, kind, options=options)
    looked(cast, at)
    made.refresh_from_db()
    assert made.error == ""
    occurrences = AlertOccurrence.objects.filter(rule=made, ended_at=None).order_by("name")
    return list(occurrences.values_list("message", flat=True))


def test_an_alert_is_mailed_once_and_again_when_it_is_over(cast, mailoutbox):
    audience = sized(cast, "Buyers", 20, before=100)
    mail = channel(cast, "mail", addresses="ada@example.com, bo@example.com")
    rule(cast, "audience_size", mail, origin="https://console.example.com")
    for minutes in (0, 1, 10, 60):
        looked(cast, NOON + minutes * MINUTE)
    (sent,) = mailoutbox
    assert sent.to == ["ada@example.com", "bo@example.com"]
    assert sent.subject == f"Alert: Watch ({cast.space.name}) on Personas"
    assert "Buyers: 20 people, 100 a day ago (80 % fewer)." in sent.body
    assert f"https://console.example.com/w/{cast.workspace.slug}/s/{cast.space.slug}/alerts" in sent.body
    type(audience).everything.filter(pk=audience.pk).update(size=90)
    looked(cast, NOON + 70 * MINUTE)
    looked(cast, NOON + 90 * MINUTE)
    assert len(mailoutbox) == 2
    assert mailoutbox[1].subject.startswith("Resolved: Watch")
    (occurrence,) = AlertOccurrence.objects.all()
    assert (occurrence.began_at, occurrence.ended_at) == (NOON, NOON + 70 * MINUTE)


def test_a_thousand_audiences_that_fail_at_once_are_one_message(cast, mailoutbox):
    for number in range(40):
        audience = AudienceFactory(space=cast.space, name=f"Audience {number:02}")
        Version.objects.filter(audience=audience).update(state=Version.State.FAILED)
    rule(cast, "audience_failed", channel(cast, "mail", addresses="ada@example.com"))
    looked(cast, NOON)
    (sent,) = mailoutbox
    assert "and 20 more" in sent.body
    assert AlertOccurrence.objects.count() == 40


def test_a_webhook_that_fails_is_tried_again_under_the_same_id(cast, receiver):
    sized(cast, "Buyers", 20, before=100)
    hook = channel(cast, "webhook", url=receiver.url, authorization="Bearer secret-of-ours")
    rule(cast, "audience_size", hook)
    receiver.answer = lambda got: Reply(status=500)
    looked(cast, NOON)
    (waiting,) = AlertNotification.objects.all()
    assert (waiting.state, waiting.error, waiting.retry_at) == ("pending", "It answered with status 500", NOON + MINUTE)
    receiver.answer = lambda got: Reply()
    looked(cast, NOON + MINUTE)
    first, second = receiver.got
    assert first.json == second.json
    assert second.headers["authorization"] == "Bearer secret-of-ours"
    assert (second.json["type"], second.json["id"]) == ("alert", waiting.public_id)
    waiting.refresh_from_db()
    assert (waiting.state, waiting.tries, waiting.error) == ("sent", 2, "")


def test_what_no_other_try_changes_is_given_up_and_says_so(cast, receiver, settings):
    sized(cast, "Buyers", 20, before=100)
    settings.OUTBOUND_ALLOW = [receiver.place, "10.0.0.1:80"]  # when it is saved
    rule(
        cast,
        "audience_size",
        channel(cast, "webhook", url=receiver.url),
        channel(cast, "webhook", url="http://10.0.0.1/"),
    )
    settings.OUTBOUND_ALLOW = [receiver.place]
    receiver.answer = lambda got: Reply(status=404)
    looked(cast, NOON)
    refused, private = AlertNotification.objects.order_by("pk")
    assert (refused.state, refused.error) == ("failed", "It answered with status 404")
    assert (private.state, "private network" in private.error) == ("failed", True)


def test_a_test_message_says_what_it_is_and_names_no_secret(cast, receiver, settings):
    hook = channel(cast, "webhook", url=receiver.url)
    tested = services.test_channel(hook, now=NOON)
    assert (tested.state, receiver.got[0].json["type"]) == ("sent", "test")
    settings.OUTBOUND_ALLOW = [receiver.place, "127.0.0.1:1"]
    gone = channel(cast, "webhook", url="http://127.0.0.1:1/inside-the-address")
    tested = services.test_channel(gone, now=NOON)
    assert tested.state == "failed"
    assert "inside-the-address" not in tested.error


def test_what_was_switched_off_says_nothing(cast, mailoutbox):
    sized(cast, "Buyers", 20, before=100)
    watch = rule(cast, "audience_size", channel(cast, "mail", addresses="ada@example.com"))
    looked(cast, NOON)
    services.change_rule(watch, enabled=False, now=NOON + MINUTE, by=cast.people["admin"])
    looked(cast, NOON + 10 * MINUTE)
    assert len(mailoutbox) == 1
    assert not AlertOccurrence.objects.filter(ended_at=None).exists()


def test_a_rule_that_cannot_be_looked_at_says_so_and_stops_no_other(cast, monkeypatch, mailoutbox):
    sized(cast, "Buyers", 0, before=100)
    mail = channel(cast, "mail", addresses="ada@example.com")
    broken = rule(cast, "audience_size", mail)
    AlertRule.objects.filter(pk=broken.pk).update(options={"percent": "many"})
    rule(cast, "audience_empty", mail)
    looked(cast, NOON)
    broken.refresh_from_db()
    assert (bool(broken.error), broken.check_at > NOON) == (True, True)
    assert [sent.subject.split(":")[0] for sent in mailoutbox] == ["Alert"]


def test_sizes_jump_both_ways_above_the_share_and_the_least_size(cast):
    sized(cast, "Doubled", 201, before=100)
    sized(cast, "Just doubled", 200, before=100)
    sized(cast, "Small", 1, before=99)
    sized(cast, "New", 500)
    assert findings(cast, "audience_size", percent=100) == ["Doubled: 201 people, 100 a day ago (101 % more)."]


def test_an_audience_that_never_had_anybody_did_not_drop_to_zero(cast):
    sized(cast, "Emptied", 0, before=3)
    sized(cast, "Never filled", 0)
    sized(cast, "Full", 3, before=3)
    assert findings(cast, "audience_empty") == ["Emptied: nobody is left in it."]


def test_an_audience_is_told_of_that_has_failed_or_is_long_behind(cast):
    for name, state, since in (("Failed", "failed", 1), ("Late", "catching_up", 61), ("Soon", "catching_up", 59)):
        audience = AudienceFactory(space=cast.space, name=name)
        Version.objects.filter(audience=audience).update(state=state, failing_since=NOON - since * MINUTE)
    AudienceFactory(space=cast.space, name="Off", enabled=False)
    assert findings(cast, "audience_failed", minutes=60) == [
        "Failed: version 1 has failed.",
        "Late: version 1 is behind for more than 60 minutes.",
    ]


def test_connections_are_told_of_that_stopped_fail_or_refuse(cast):
    states = {
        "Suspended": {"status": "suspended"},
        "Failing": {"status": "failing", "failing_since": NOON - 16 * MINUTE},
        "Hiccup": {"status": "retrying", "failing_since": NOON - MINUTE},
        "Refused": {"status": "refused", "counts": {"desired": 100, "refused": 6}},
        "Nearly": {"status": "refused", "counts": {"desired": 100, "refused": 5}},
        "Off": {"status": "suspended", "enabled": False, "failing_since": NOON - DAY},
    }
    for name, fields in states.items():
        subscription = make_subscription(AudienceFactory(space=cast.space, name=name), make_destination(cast.space))
        type(subscription).objects.filter(pk=subscription.pk).update(**fields)
    starts = {
        kind: [message.split(" ")[0] for message in findings(cast, kind)]
        for kind in ("subscription_stopped", "subscription_failing", "subscription_refused")
    }
    assert starts == {
        "subscription_stopped": ["Suspended"],
        "subscription_failing": ["Failing"],
        "subscription_refused": ["Refused"],
    }


def test_a_rule_is_about_one_subject_of_its_own_space(cast):
    mine, other = sized(cast, "Mine", 0, before=3), sized(cast, "Other", 0, before=3)
    foreign = AudienceFactory(space=cast.other_space)
    watch = rule(cast, "audience_empty", subject=mine.public_id)
    looked(cast, NOON)
    assert [row.subject for row in AlertOccurrence.objects.all()] == [mine.public_id]
    services.change_rule(watch, subject=other.public_id, now=NOON, by=cast.people["admin"])
    with pytest.raises(InvalidSetting):
        rule(cast, "audience_empty", subject=foreign.public_id)


def test_looking_and_sending_are_work_of_their_own(cast):
    """No stage waits for them: they are no stage, and at the queue that mostly waits."""
    assert {WORK[kind].queue for kind in ("alert", "alert_message")} == {"sync"}
    assert not any(WORK[kind].stage for kind in ("alert", "alert_message"))
    sized(cast, "Buyers", 20, before=100)
    rule(cast, "audience_size")
    assert watching.due(NOON) == {cast.space.pk}
    assert WORK["alert"].turn(cast.space.pk, cast.workspace.pk)
