"""What the API takes and answers about alerts: rules, channels, what was wrong, and what was sent."""

from typing import Any

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
    id = serializers.CharField(source="public_id", initial="alc_2qKf0")
    kind = serializers.CharField(initial="slack")
    name = serializers.CharField(initial="#data")
    settings = serializers.SerializerMethodField(initial=CHANNEL_SETTINGS)
    createdAt = MomentField(source="created_at")

    @extend_schema_field(DeclaredField(_settings))
    def get_settings(self, channel: AlertChannel) -> dict[str, Any]:
        return masked(queries.settings_of(channel))


class CreateAlertChannel(serializers.Serializer[Any]):
    kind = serializers.CharField(max_length=40, initial="mail")
    name = serializers.CharField(max_length=100, initial="Data team")
    settings = DeclaredField(_settings, default=dict, initial={"addresses": "data@example.com"})


class ChangeAlertChannel(serializers.Serializer[Any]):
    """A masked secret stays."""

    name = serializers.CharField(max_length=100, required=False, initial="Data team")
    settings = DeclaredField(_settings, is_change=True, required=False)


class AlertRuleSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="alr_2qKf0")
    kind = serializers.CharField(initial="audience_size")
    name = serializers.CharField(initial="Sizes")
    sentence = serializers.SerializerMethodField(
        help_text="What it watches for, in words.",
        initial="The size of “Buyers” changes by more than 50 % within a day.",
    )
    # null rather than "": to a client an id is there or is not.
    subjectId = TextOrNull(
        source="subject", help_text="What it is about; null = anything of its kind.", initial="aud_2qKf0"
    )
    options = serializers.SerializerMethodField(initial=OPTIONS)
    channelIds = serializers.SerializerMethodField(help_text="By which people are told.", initial=["alc_2qKf0"])
    cooldownMinutes = serializers.IntegerField(source="cooldown_minutes", initial=30)
    enabled = serializers.BooleanField(initial=True)
    # Counted by the query of the rules (queries.rules_of), not one by one.
    open = serializers.IntegerField(help_text="How many things are wrong by it now.", initial=0)
    error = serializers.CharField(
        help_text="Why it could not be looked at the last time; empty when it could.", initial=""
    )
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
    kind = serializers.CharField(max_length=40, initial="audience_size")
    name = serializers.CharField(max_length=100, initial="Sizes")
    options = DeclaredField(_options, default=dict, initial=OPTIONS)
    channelIds = channel_ids(default=list, initial=["alc_2qKf0"])
    subjectId = serializers.CharField(
        max_length=40, allow_null=True, default=None, help_text="null = anything of its kind."
    )
    # Its bounds are the service's: a form and a body are told the same.
    cooldownMinutes = serializers.IntegerField(default=30, help_text=COOLDOWN)
    enabled = serializers.BooleanField(default=True)


class ChangeAlertRule(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, required=False)
    options = DeclaredField(_options, is_change=True, required=False)
    channelIds = channel_ids(required=False)
    subjectId = serializers.CharField(max_length=40, allow_null=True, required=False)
    cooldownMinutes = serializers.IntegerField(required=False, help_text=COOLDOWN)
    enabled = serializers.BooleanField(required=False, initial=False)


class OccurrenceSerializer(serializers.Serializer[Any]):
    """Something that was wrong, from one look to another."""

    id = serializers.CharField(source="public_id", initial="alo_2qKf0")
    alertId = serializers.CharField(source="rule.public_id", initial="alr_2qKf0")
    subjectId = serializers.CharField(source="subject", initial="aud_2qKf0")
    name = serializers.CharField(initial="Buyers")
    message = serializers.CharField(initial="Buyers: 20 people, 100 a day ago (80 % fewer).")
    beganAt = MomentField(source="began_at")
    toldAt = MomentField(source="told_at", allow_null=True, help_text="null = nobody was told, within the cooldown.")
    endedAt = MomentField(source="ended_at", allow_null=True, help_text="null = it is wrong still.", initial=None)


class NotificationSerializer(serializers.Serializer[Any]):
    """A message to one channel, and what became of it."""

    id = serializers.CharField(source="public_id", initial="aln_2qKf0")
    # null of a test, which belongs to a channel alone.
    alertId = serializers.CharField(source="rule.public_id", default=None, allow_null=True, initial="alr_2qKf0")
    channelId = serializers.CharField(source="channel.public_id", initial="alc_2qKf0")
    type = serializers.ChoiceField(source="what", choices=AlertNotification.What.choices, initial="alert")
    title = serializers.CharField(initial="Alert: Sizes (Shop)")
    messages = serializers.SerializerMethodField(
        help_text="What was wrong, or no longer is.", initial=["Buyers: 20 people, 100 a day ago (80 % fewer)."]
    )
    at = MomentField()
    state = serializers.ChoiceField(choices=AlertNotification.State.choices, initial="sent")
    tries = serializers.IntegerField(initial=1)
    sentAt = MomentField(source="sent_at", allow_null=True)
    retryAt = MomentField(source="retry_at", allow_null=True, initial=None)
    error = serializers.CharField(help_text="Of the last try; empty when it was sent.", initial="")

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_messages(self, notification: AlertNotification) -> list[str]:
        # As they were told: what was wrong may have other words by now.
        return [message for _, _, message in notification.findings]


class SettingFieldSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(initial="percent")
    label = serializers.CharField(initial="By more than … %")  # type: ignore[assignment]
    help = serializers.CharField(initial="")
    type = serializers.CharField(initial="integer")


class AlertKindSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(initial="audience_size")
    label = serializers.CharField(initial="The size of an audience jumps")  # type: ignore[assignment]
    description = serializers.CharField(initial="More or fewer people than a day ago, by more than a share.")
    about = serializers.CharField(help_text="What it can be about.", initial="audience")
    options = SettingFieldSerializer(many=True)
    optionsSchema = serializers.DictField(
        help_text="The options as JSON Schema.",
        initial={"type": "object", "properties": {"percent": {"type": "integer"}}},
    )


# Whole answers.
AlertChannelAnswer = enveloped("AlertChannelAnswer", channel=AlertChannelSerializer())
AlertRuleAnswer = enveloped("AlertRuleAnswer", alert=AlertRuleSerializer())
NotificationAnswer = enveloped("NotificationAnswer", notification=NotificationSerializer())
AlertKindsAnswer = enveloped("AlertKindsAnswer", alertKinds=AlertKindSerializer(many=True))
