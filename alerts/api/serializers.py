"""What the API takes and answers about alerts: rules, channels, what was wrong, and what was sent."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.declared import Declarations, DeclaredField, by_own_name
from access.api.serializers import MomentField, TextOrNull, enveloped
from alerts import queries
from alerts.channels import all_channels
from alerts.kinds import all_kinds
from alerts.models import AlertChannel, AlertNotification, AlertRule
from spaces.settings_schema import MASK, masked

# Examples of a kind in a folder of another app: this one knows none by itself.
OPTIONS = {"percent": 50, "least": 100}
CHANNEL_SETTINGS = {"webhookUrl": f"https://hooks.slack.com/{MASK}"}


def _options() -> Declarations:
    return by_own_name(kind.options for kind in all_kinds().values())


def _settings() -> Declarations:
    return by_own_name(channel.settings for channel in all_channels().values())


class AlertChannelSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"id": "alc_2qKf0", "kind": "slack", "name": "#data", "settings": CHANNEL_SETTINGS}

    id = serializers.CharField(source="public_id")
    kind = serializers.CharField()
    name = serializers.CharField()
    settings = serializers.SerializerMethodField()
    createdAt = MomentField(source="created_at")

    @extend_schema_field(DeclaredField(_settings))
    def get_settings(self, channel: AlertChannel) -> dict[str, Any]:
        return masked(queries.settings_of(channel))


class CreateAlertChannel(serializers.Serializer[Any]):
    example: ClassVar = {"kind": "mail", "name": "Data team", "settings": {"addresses": "data@example.com"}}

    kind = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=100)
    settings = DeclaredField(_settings, default=dict)


class ChangeAlertChannel(serializers.Serializer[Any]):
    """A masked secret stays."""

    example: ClassVar = {"name": "Data team"}

    name = serializers.CharField(max_length=100, required=False)
    settings = DeclaredField(_settings, is_change=True, required=False)


class AlertRuleSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "alr_2qKf0",
        "kind": "audience_size",
        "name": "Sizes",
        "sentence": "The size of “Buyers” changes by more than 50 % within a day.",
        "subjectId": "aud_2qKf0",
        "options": OPTIONS,
        "channelIds": ["alc_2qKf0"],
        "cooldownMinutes": 30,
        "enabled": True,
        "open": 0,
        "error": "",
    }

    id = serializers.CharField(source="public_id")
    kind = serializers.CharField()
    name = serializers.CharField()
    sentence = serializers.SerializerMethodField(help_text="What it watches for, in words.")
    # null rather than "": to a client an id is there or is not.
    subjectId = TextOrNull(source="subject", help_text="What it is about; null = anything of its kind.")
    options = serializers.SerializerMethodField()
    channelIds = serializers.SerializerMethodField(help_text="By which people are told.")
    cooldownMinutes = serializers.IntegerField(source="cooldown_minutes")
    enabled = serializers.BooleanField()
    # Counted by the query of the rules (queries.rules_of), not one by one.
    open = serializers.IntegerField(help_text="How many things are wrong by it now.")
    error = serializers.CharField(help_text="Why it could not be looked at the last time; empty when it could.")
    createdAt = MomentField(source="created_at")

    def get_sentence(self, rule: AlertRule) -> str:
        subjects = self.context.get("subjects", {})  # read once for all rules of a kind
        if rule.subject and rule.kind not in subjects:
            subjects[rule.kind] = all_kinds()[rule.kind].subjects(rule.space)
        return queries.sentence_of(rule, subjects.get(rule.kind))

    @extend_schema_field(DeclaredField(_options))
    def get_options(self, rule: AlertRule) -> dict[str, Any]:
        return masked(queries.options_of(rule))

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_channelIds(self, rule: AlertRule) -> list[str]:
        return [channel.public_id for channel in rule.channels.all()]


COOLDOWN = "Between two messages about something new; what is still wrong then is told in one."


def channel_ids(**options: Any) -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(max_length=64), max_length=100, **options)


class CreateAlertRule(serializers.Serializer[Any]):
    example: ClassVar = {
        "kind": "audience_size",
        "name": "Sizes",
        "options": OPTIONS,
        "channelIds": ["alc_2qKf0"],
    }

    kind = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=100)
    options = DeclaredField(_options, default=dict)
    channelIds = channel_ids(default=list)
    subjectId = serializers.CharField(
        max_length=40, allow_null=True, default=None, help_text="null = anything of its kind."
    )
    # Its bounds are the service's: a form and a body are told the same.
    cooldownMinutes = serializers.IntegerField(default=30, help_text=COOLDOWN)
    enabled = serializers.BooleanField(default=True)


class ChangeAlertRule(serializers.Serializer[Any]):
    example: ClassVar = {"enabled": False}

    name = serializers.CharField(max_length=100, required=False)
    options = DeclaredField(_options, is_change=True, required=False)
    channelIds = channel_ids(required=False)
    subjectId = serializers.CharField(max_length=40, allow_null=True, required=False)
    cooldownMinutes = serializers.IntegerField(required=False, help_text=COOLDOWN)
    enabled = serializers.BooleanField(required=False)


class OccurrenceSerializer(serializers.Serializer[Any]):
    """Something that was wrong, from one look to another."""

    example: ClassVar = {
        "id": "alo_2qKf0",
        "alertId": "alr_2qKf0",
        "subjectId": "aud_2qKf0",
        "name": "Buyers",
        "message": "Buyers: 20 people, 100 a day ago (80 % fewer).",
        "endedAt": None,
    }

    id = serializers.CharField(source="public_id")
    alertId = serializers.CharField(source="rule.public_id")
    subjectId = serializers.CharField(source="subject")
    name = serializers.CharField()
    message = serializers.CharField()
    beganAt = MomentField(source="began_at")
    toldAt = MomentField(source="told_at", allow_null=True, help_text="null = nobody was told, within the cooldown.")
    endedAt = MomentField(source="ended_at", allow_null=True, help_text="null = it is wrong still.")


class NotificationSerializer(serializers.Serializer[Any]):
    """A message to one channel, and what became of it."""

    example: ClassVar = {
        "id": "aln_2qKf0",
        "alertId": "alr_2qKf0",
        "channelId": "alc_2qKf0",
        "type": "alert",
        "title": "Alert: Sizes (Shop)",
        "messages": ["Buyers: 20 people, 100 a day ago (80 % fewer)."],
        "state": "sent",
        "tries": 1,
        "retryAt": None,
        "error": "",
    }

    id = serializers.CharField(source="public_id")
    # null of a test, which belongs to a channel alone.
    alertId = serializers.CharField(source="rule.public_id", default=None, allow_null=True)
    channelId = serializers.CharField(source="channel.public_id")
    type = serializers.ChoiceField(source="what", choices=AlertNotification.What.choices)
    title = serializers.CharField()
    messages = serializers.SerializerMethodField(help_text="What was wrong, or no longer is.")
    at = MomentField()
    state = serializers.ChoiceField(choices=AlertNotification.State.choices)
    tries = serializers.IntegerField()
    sentAt = MomentField(source="sent_at", allow_null=True)
    retryAt = MomentField(source="retry_at", allow_null=True)
    error = serializers.CharField(help_text="Of the last try; empty when it was sent.")

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_messages(self, notification: AlertNotification) -> list[str]:
        # As they were told: what was wrong may have other words by now.
        return [message for _, _, message in notification.findings]


class SettingFieldSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"name": "percent", "label": "By more than … %", "help": "", "type": "integer"}

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    help = serializers.CharField()
    type = serializers.CharField()


class AlertKindSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "kind": "audience_size",
        "label": "The size of an audience jumps",
        "description": "More or fewer people than a day ago, by more than a share.",
        "about": "audience",
        "optionsSchema": {"type": "object", "properties": {"percent": {"type": "integer"}}},
    }

    kind = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    description = serializers.CharField()
    about = serializers.CharField(help_text="What it can be about.")
    options = SettingFieldSerializer(many=True)
    optionsSchema = serializers.DictField(help_text="The options as JSON Schema.")


# Whole answers.
AlertChannelAnswer = enveloped("AlertChannelAnswer", channel=AlertChannelSerializer())
AlertRuleAnswer = enveloped("AlertRuleAnswer", alert=AlertRuleSerializer())
NotificationAnswer = enveloped("NotificationAnswer", notification=NotificationSerializer())
AlertKindsAnswer = enveloped("AlertKindsAnswer", alertKinds=AlertKindSerializer(many=True))
