"""Alerts: what is told when, and how it reads. No stores."""

from datetime import UTC, datetime, timedelta

import pytest

from alerts.channels.mail import MailSettings
from alerts.channels.slack import SlackChannelSettings
from alerts.channels.webhook import WebhookChannelSettings, body_of
from alerts.rules.contract import ALERT, RESOLVED, AlertMessage, Finding
from alerts.rules.decision import MOST_TRIES, decide, next_try
from spaces.settings_schema import InvalidSetting

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
HALF_AN_HOUR = timedelta(minutes=30)


def wrong(*subjects):
    return [Finding(subject, subject.upper(), f"{subject} is wrong.") for subject in subjects]


def decided(open, findings, *, told_ago=None):
    told_at = None if told_ago is None else NOON - told_ago
    return decide(open, findings, told_at=told_at, cooldown=HALF_AN_HOUR, now=NOON)


def test_what_begins_is_told_once():
    first = decided({}, wrong("a", "b"))
    assert ([finding.subject for finding in first.begun], first.tell) == (["a", "b"], ["a", "b"])
    again = decided({"a": True, "b": True}, wrong("a", "b"), told_ago=timedelta(hours=2))
    assert (again.begun, again.tell, again.ended) == ([], [], [])


def test_what_begins_within_the_cooldown_is_told_at_its_end_if_it_lasts():
    within = decided({"a": True}, wrong("a", "b"), told_ago=timedelta(minutes=29))
    assert ([finding.subject for finding in within.begun], within.tell) == (["b"], [])
    after = decided({"a": True, "b": False}, wrong("a", "b"), told_ago=HALF_AN_HOUR)
    assert (after.begun, after.tell) == ([], ["b"])


def test_what_is_over_is_told_to_whoever_heard_of_it():
    decision = decided({"a": True, "b": False}, [], told_ago=timedelta(minutes=1))
    assert (decision.ended, decision.tell_ended, decision.tell) == (["a", "b"], ["a"], [])


def test_a_rule_that_flaps_tells_at_most_twice_in_a_cooldown():
    told_at, open, told = None, {}, 0
    for minute in range(60):  # wrong every other minute, for an hour
        now = NOON + timedelta(minutes=minute)
        findings = wrong("a") if minute % 2 == 0 else []
        decision = decide(open, findings, told_at=told_at, cooldown=HALF_AN_HOUR, now=now)
        told += bool(decision.tell) + bool(decision.tell_ended)
        open = {subject: on for subject, on in open.items() if subject not in decision.ended}
        open |= {finding.subject: False for finding in decision.begun}
        if decision.tell:
            told_at, open = now, open | dict.fromkeys(decision.tell, True)
    assert told == 4


def test_a_message_is_tried_ever_more_rarely_and_given_up():
    waits = [next_try(tries, NOON) - NOON for tries in range(1, MOST_TRIES)]
    assert waits[0] == timedelta(minutes=1)
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(hours=1)
    assert next_try(MOST_TRIES, NOON) is None


def test_a_message_says_what_is_wrong_and_how_much_more():
    many = wrong(*(f"s{n}" for n in range(25)))
    message = AlertMessage("aln_1", ALERT, "Sizes\nof all", "Shop", "Something jumps.", NOON, many, "https://x.org/a")
    assert message.title == "Alert: Sizes of all (Shop)"
    assert message.lines[-2:] == ["s19 is wrong.", "and 5 more"]
    assert message.text.endswith("Watched for: Something jumps.\nhttps://x.org/a")
    over = AlertMessage("aln_2", RESOLVED, "Sizes", "Shop", "Something jumps.", NOON, wrong("a"))
    assert over.lines == ["It is over:", "a is wrong."]
    assert body_of(over)["findings"] == [{"subjectId": "a", "name": "A", "message": "a is wrong."}]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (MailSettings(addresses=" , "), "addresses"),
        (MailSettings(addresses="ada@example.com, nobody"), "addresses"),
        (MailSettings(addresses="a@example.com\nBcc: b@example.com"), "addresses"),
        (MailSettings(addresses=",".join(f"p{n}@example.com" for n in range(11))), "addresses"),
        (SlackChannelSettings(webhook_url="http://hooks.slack.com/x"), "webhookUrl"),
        (WebhookChannelSettings(url="ftp://example.com"), "url"),
        (WebhookChannelSettings(url="https://example.com", authorization="a\r\nb: c"), "authorization"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, field):
    with pytest.raises(InvalidSetting) as refused:
        settings.check()
    assert refused.value.field == field
