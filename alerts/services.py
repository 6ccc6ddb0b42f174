"""Everything that changes alert rules and channels. Each change leaves an audit entry."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from msgspec.structs import asdict

from access.services import ActorLike, NotPossible, actor_of, audit
from alerts import sending
from alerts.channels import all_channels
from alerts.kinds import all_kinds
from alerts.models import AlertChannel, AlertNotification, AlertOccurrence, AlertRoute, AlertRule
from alerts.rules.contract import TEST, AlertMessage
from spaces.models import Space
from spaces.outbound import check_settings
from spaces.secrets import open_sealed, seal
from spaces.settings_schema import InvalidSetting, parse

MOST_RULES = MOST_CHANNELS = 100  # of a space
LEAST_COOLDOWN, MOST_COOLDOWN = 1, 7 * 24 * 60  # minutes


def create_channel(space: Space, *, kind: str, name: str, settings: Mapping[str, Any], by: ActorLike) -> AlertChannel:
    """Raises InvalidSetting, with field "kind" for an unknown kind, and NotPossible: too many."""
    if kind not in all_channels():
        raise InvalidSetting("kind", f"Must be one of {', '.join(all_channels())}")
    if space.alert_channels.count() >= MOST_CHANNELS:
        raise NotPossible(f"There may be {MOST_CHANNELS} channels.")
    parsed = parse(all_channels()[kind].settings, settings)
    check_settings(parsed)
    channel = AlertChannel.objects.create(
        workspace_id=space.workspace_id, space=space, kind=kind, name=name, settings=seal(asdict(parsed))
    )
    audit(by, "alert_channel.created", channel, kind=kind, name=name)
    return channel


def change_channel(
    channel: AlertChannel, *, name: str | None = None, settings: Mapping[str, Any] | None = None, by: ActorLike
) -> None:
    """What is given is changed; what waits to be sent is tried again now. Raises InvalidSetting."""
    if settings is not None:
        parsed = parse(all_channels()[channel.kind].settings, settings, open_sealed(channel.settings))
        check_settings(parsed)
        channel.settings = seal(asdict(parsed))
        # Whoever mended the settings waits for the messages that could not be sent.
        channel.notifications.filter(state=AlertNotification.State.PENDING).update(retry_at=None)
    channel.name = name if name is not None else channel.name
    channel.save()
    audit(by, "alert_channel.changed", channel, name=name, settings=sorted(settings or {}))


def delete_channel(channel: AlertChannel, *, by: ActorLike) -> None:
    """It is gone, with what was sent by it; rules that told by it alone tell nobody."""
    audit(by, "alert_channel.deleted", channel, name=channel.name)
    channel.delete()


def test_channel(channel: AlertChannel, *, now: datetime) -> AlertNotification:
    """A message that says what it is, sent now. Raises nothing: what became of it is in the answer."""
    notification = AlertNotification.objects.create(
        workspace_id=channel.workspace_id,
        space_id=channel.space_id,
        channel=channel,
        what=TEST,
        title=AlertMessage("", TEST, channel.name, channel.space.name, "", now).title,
        at=now,
    )
    # Once: whoever pressed the button sees at once whether it works.
    sending.deliver(notification, now, is_last=True)
    return notification


def create_rule(
    space: Space,
    *,
    kind: str,
    name: str,
    options: Mapping[str, Any],
    channels: Sequence[AlertChannel],
    subject: str = "",
    cooldown_minutes: int = 30,
    enabled: bool = True,
    origin: str = "",
    by: ActorLike,
) -> AlertRule:
    """It is looked at soon. Raises InvalidSetting, with the fields kind, subjectId and cooldownMinutes beside those of
    the options, and NotPossible: too many."""
    if kind not in all_kinds():
        raise InvalidSetting("kind", f"Must be one of {', '.join(all_kinds())}")
    if space.alert_rules.count() >= MOST_RULES:
        raise NotPossible(f"There may be {MOST_RULES} alerts.")
    parsed = parse(all_kinds()[kind].options, options)
    _check(space, kind, subject, cooldown_minutes)
    with transaction.atomic():
        rule = AlertRule.objects.create(
            workspace_id=space.workspace_id,
            space=space,
            kind=kind,
            name=name,
            subject=subject,
            options=asdict(parsed),
            cooldown_minutes=cooldown_minutes,
            enabled=enabled,
            origin=origin[:255],
            created_by=actor_of(by).user,
        )
        _route(rule, channels)
        audit(by, "alert.created", rule, kind=kind, name=name, subject=subject, options=rule.options)
    return rule


def change_rule(
    rule: AlertRule,
    *,
    name: str | None = None,
    subject: str | None = None,
    options: Mapping[str, Any] | None = None,
    channels: Sequence[AlertChannel] | None = None,
    cooldown_minutes: int | None = None,
    enabled: bool | None = None,
    now: datetime,
    by: ActorLike,
) -> None:
    """What is given is changed, and it is looked at soon. What was wrong is over, quietly, when it is switched off.

    Raises InvalidSetting.
    """
    if options is not None:
        rule.options = asdict(parse(all_kinds()[rule.kind].options, options, rule.options))
    given = {"name": name, "subject": subject, "cooldown_minutes": cooldown_minutes, "enabled": enabled}
    changes = {field: value for field, value in given.items() if value is not None}
    for field, value in changes.items():
        setattr(rule, field, value)
    _check(rule.space, rule.kind, rule.subject, rule.cooldown_minutes)
    # What is watched for is another thing now: looked at soon, not when it was due.
    rule.check_at = None
    with transaction.atomic():
        rule.save(update_fields=["options", "check_at", *changes])  # never when people were told: a look may write that
        if channels is not None:
            AlertRoute.objects.filter(rule=rule).delete()
            _route(rule, channels)
        if not rule.enabled:
            # Else it would be wrong for ever: nobody looks at a rule that is switched off.
            AlertOccurrence.objects.filter(rule=rule, ended_at=None).update(ended_at=now)
        audit(by, "alert.changed", rule, **changes, options=rule.options)


def delete_rule(rule: AlertRule, *, by: ActorLike) -> None:
    """It is gone with what it said."""
    audit(by, "alert.deleted", rule, name=rule.name)
    rule.delete()


def _check(space: Space, kind: str, subject: str, cooldown_minutes: int) -> None:
    if subject and subject not in dict(all_kinds()[kind].subjects(space)):
        raise InvalidSetting("subjectId", f"There is no such {all_kinds()[kind].about} in this space")
    if not LEAST_COOLDOWN <= cooldown_minutes <= MOST_COOLDOWN:
        raise InvalidSetting("cooldownMinutes", f"Must be a whole number between {LEAST_COOLDOWN} and {MOST_COOLDOWN}")


def _route(rule: AlertRule, channels: Sequence[AlertChannel]) -> None:
    AlertRoute.objects.bulk_create(
        AlertRoute(workspace_id=rule.workspace_id, rule=rule, channel=channel) for channel in channels
    )
