"""Alerts on their pages and by the API: who may change them, what is refused, what is shown."""

import pytest

from access.models import AuditEntry
from alerts.models import AlertChannel, AlertNotification, AlertRule
from tests.cast import words
from tests.factories_destinations import AudienceFactory
from tests.sample_rows import make_alert, make_alert_channel

pytestmark = pytest.mark.django_db

MAIL = {"kind": "mail", "name": "Data team", "settings": {"addresses": "data@example.com"}}


@pytest.fixture
def base(cast):
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/alerts"


def test_channels_and_alerts_are_made_changed_and_deleted_through_the_api(cast, api):
    channel = api("POST", "alert-channels", MAIL, status=201, who="admin")["channel"]
    audience = AudienceFactory(space=cast.space, name="Buyers")
    body = {
        "kind": "audience_size",
        "name": "Sizes",
        "options": {"percent": 20},
        "channelIds": [channel["id"]],
        "subjectId": audience.public_id,
    }
    made = api("POST", "alerts", body, status=201, who="admin")["alert"]
    assert made["sentence"] == "The size of “Buyers” changes by more than 20 % within a day."
    assert (made["options"], made["open"], made["cooldownMinutes"]) == ({"percent": 20, "least": 100}, 0, 30)
    changed = api("PATCH", f"alerts/{made['id']}", {"subjectId": None, "cooldownMinutes": 5}, who="admin")["alert"]
    assert (changed["subjectId"], changed["cooldownMinutes"], changed["options"]) == (None, 5, made["options"])
    assert AuditEntry.objects.latest("pk").action == "alert.changed"
    assert api("GET", "alerts", who="read_only")["alerts"] == [changed]
    assert len(api("GET", "alert-kinds", who="read_only")["alertKinds"]) == 6
    api("PATCH", f"alert-channels/{channel['id']}", {"settings": {"addresses": "a@example.com"}}, who="admin")
    api("DELETE", f"alert-channels/{channel['id']}", who="admin")
    assert api("GET", f"alerts/{made['id']}")["alert"]["channelIds"] == []
    api("DELETE", f"alerts/{made['id']}", who="admin")
    assert not AlertRule.objects.exists()


@pytest.mark.parametrize(
    ("path", "change", "field"),
    [
        ("alerts", {"kind": "weather"}, "kind"),
        ("alerts", {"options": {"percent": 0}}, "options.percent"),
        ("alerts", {"options": {"colour": "red"}}, "options.colour"),
        ("alerts", {"channelIds": ["alc_none"]}, "channelIds"),
        ("alerts", {"subjectId": "aud_none"}, "subjectId"),
        ("alerts", {"cooldownMinutes": 0}, "cooldownMinutes"),
        ("alert-channels", {"kind": "pigeon"}, "kind"),
        ("alert-channels", {"settings": {"addresses": "nobody"}}, "settings.addresses"),
    ],
)
def test_what_cannot_be_watched_or_told_is_refused_with_its_path(api, path, change, field):
    bodies = {"alerts": {"kind": "audience_size", "name": "Sizes"}, "alert-channels": MAIL}
    assert api("POST", path, bodies[path] | change, status=422, who="admin")["field"] == field


def test_a_secret_is_masked_and_only_admins_change_anything(cast, api, base):
    hook = {"kind": "slack", "name": "#data", "settings": {"webhookUrl": "https://hooks.slack.com/services/T0/B0/x"}}
    shown = api("POST", "alert-channels", hook, status=201, who="admin")["channel"]
    assert "services" not in str(shown)
    rule = make_alert(cast.space, AlertChannel.objects.get())
    for path in ("alerts", "alert-channels", f"alert-channels/{shown['id']}/test"):
        api("POST", path, {}, status=403)
    user = cast.browser("user")
    for page in (f"{base}/new?kind=audience_size", f"{base}/{rule.public_id}"):
        assert user.post(page, {"name": "x"}).status_code == 403
    assert "services" not in user.get(f"{base}/channels/{shown['id']}").content.decode()


def test_what_was_wrong_and_what_was_sent_is_listed(cast, api, base):
    rule = make_alert(cast.space, make_alert_channel(cast.space))
    (occurrence,) = api("GET", "alert-occurrences?open=true")["occurrences"]
    assert (occurrence["alertId"], occurrence["endedAt"]) == (rule.public_id, None)
    assert api("GET", "alert-occurrences?open=false")["occurrences"] == []
    api("GET", "alert-occurrences?open=perhaps", status=422)
    (sent,) = api("GET", "alert-notifications")["notifications"]
    assert (sent["state"], sent["messages"]) == ("failed", ["Buyers: nobody is left in it."])
    reader = cast.browser("read_only")
    page = words(reader.get(base))
    assert "Some messages could not be sent" in page
    assert "Empty audiences Buyers: nobody is left in it." in page
    assert "1 open Data team" in page
    assert "Failed The mail cannot be sent: no route to host" in words(reader.get(f"{base}/history"))


def test_an_alert_is_made_changed_and_deleted_on_pages(cast, base):
    admin = cast.browser("admin")
    assert "Nothing is watched for yet" in words(admin.get(base))
    made = admin.post(f"{base}/channels/new?kind=mail", {"name": "Data team", "settings-addresses": "a@example.com"})
    channel = AlertChannel.objects.get()
    assert made.url == f"{base}/channels/{channel.public_id}"
    entered = {"name": "Sizes", "options-percent": "20", "options-least": "100", "cooldown_minutes": "30"}
    page = f"{base}/new?kind=audience_size"
    refused = admin.post(page, entered | {"options-percent": "0"})
    assert (refused.status_code, "greater than or equal to 1" in words(refused)) == (422, True)
    admin.post(page, entered | {"channels": channel.public_id, "enabled": "on"})
    rule = AlertRule.objects.get()
    assert (rule.options, rule.origin) == ({"percent": 20, "least": 100}, "http://testserver")
    assert list(rule.channels.all()) == [channel]
    assert "changes by more than 20 % within a day. Quiet Data team" in words(admin.get(base))
    admin.post(f"{base}/{rule.public_id}", entered | {"name": "All sizes"})
    rule.refresh_from_db()
    assert (rule.name, rule.enabled, rule.channels.count()) == ("All sizes", False, 0)
    assert admin.post(f"{base}/{rule.public_id}", {"confirm": "Sizes"}).status_code == 422
    admin.post(f"{base}/{rule.public_id}", {"confirm": "All sizes"})
    assert not AlertRule.objects.exists()


def test_the_test_button_sends_and_says_what_became_of_it(cast, base, mailoutbox, settings):
    channel, admin = make_alert_channel(cast.space), cast.browser("admin")
    page = f"{base}/channels/{channel.public_id}"
    assert "Sent." in words(admin.post(page, {"do": "test"}))
    assert mailoutbox[0].subject.startswith("Test: Data team")
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    assert "It did not arrive. The mail cannot be sent" in words(admin.post(page, {"do": "test"}))
    assert [row.state for row in AlertNotification.objects.order_by("pk")] == ["sent", "failed"]
