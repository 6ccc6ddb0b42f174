"""Imports as the API takes and answers them."""

import base64
from typing import Any

from rest_framework import serializers

from access.api.serializers import Envelope, MomentField, TextOrNull, enveloped
from imports import queries
from imports.models import ImportProblem, ProfileImport
from imports.rules.files import CHARSETS, DELIMITERS, MOST_COLUMNS, Record
from imports.rules.rows import TYPES
from spaces import personal
from spaces.clock import clock

LARGEST_IN_BASE64 = 4 * 2**20 * 4 // 3 + 4  # characters: of any request the API takes 6 MB
COLUMNS = [{"use": "identifier", "name": "email", "type": "text"}, {"use": "trait", "name": "plan", "type": "text"}]


class ImportColumnSerializer(serializers.Serializer[Any]):
    use = serializers.ChoiceField(choices=["identifier", "trait", "ignored"], initial="trait")
    name = serializers.CharField(
        max_length=200,
        allow_blank=True,
        default="",
        help_text="Of the identifier or the trait; blank = it is ignored.",
        initial="plan",
    )
    type = serializers.ChoiceField(
        choices=list(TYPES), default="text", help_text="What the values of a trait are.", initial="text"
    )


class ImportCountsSerializer(serializers.Serializer[Any]):
    good = serializers.IntegerField(default=0, help_text="Rows that can be imported.", initial=9_998)
    known = serializers.IntegerField(default=0, help_text="Of these, about people who have a profile.", initial=9_000)
    new = serializers.IntegerField(default=0, help_text="About others.", initial=998)
    joining = serializers.IntegerField(
        default=0, help_text="With identifiers of several profiles, which may merge.", initial=3
    )
    rejected = serializers.IntegerField(default=0, initial=2)


class SentCountsSerializer(serializers.Serializer[Any]):
    good = serializers.IntegerField(default=0, initial=9_998)
    rejected = serializers.IntegerField(default=0, initial=2)


class ImportSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="imp_2qKf0")
    name = serializers.CharField(help_text="Of the file.", initial="customers.csv")
    state = serializers.ChoiceField(choices=ProfileImport.State.values, initial="checked")
    error = TextOrNull(help_text="Why it does not go on at this moment; null = it does.", initial=None)
    received = serializers.IntegerField(
        help_text="Bytes of the file so far: where the next part begins.", initial=1_048_576
    )
    header = serializers.ListField(child=serializers.CharField(), initial=["email", "plan"])
    columns = ImportColumnSerializer(
        many=True, help_text="In the order of the header; a guess until it is checked.", initial=COLUMNS
    )
    check = ImportCountsSerializer(source="counts")
    rules = serializers.DictField(
        child=serializers.IntegerField(), help_text="What is wrong with rows: rule → times.", initial={"email": 2}
    )
    sent = SentCountsSerializer(help_text="Rows that the run has come past.", initial={"good": 0, "rejected": 0})
    done = serializers.SerializerMethodField(help_text="How much of what it is at, from 0 to 1.", initial=1.0)
    rowsPerSecond = serializers.SerializerMethodField(initial=0.0)
    secondsLeft = serializers.SerializerMethodField(initial=None)
    sourceId = serializers.CharField(source="source.public_id", default=None, allow_null=True, initial=None)
    fileKept = serializers.BooleanField(source="file_kept", read_only=True, initial=True)
    createdBy = serializers.CharField(source="created_by.public_id", default=None, allow_null=True, initial="usr_2qKf0")
    createdAt = MomentField(source="created_at")
    endedAt = MomentField(source="ended_at", allow_null=True, initial=None)

    def to_representation(self, of: ProfileImport) -> dict[str, Any]:
        # Once: of one that is undone it counts whom it has still to see to, and the three belong to one moment.
        self._progress = queries.progress(of, clock.now())
        return super().to_representation(of)

    def get_done(self, of: ProfileImport) -> float:
        return round(self._progress.done, 4)

    def get_rowsPerSecond(self, of: ProfileImport) -> float:
        return round(self._progress.rate, 1)

    def get_secondsLeft(self, of: ProfileImport) -> float | None:
        left = self._progress.seconds_left if of.is_at_work else None
        return None if left is None else round(left, 1)


class ImportProblemSerializer(serializers.Serializer[Any]):
    row = serializers.IntegerField(help_text="As a spreadsheet counts them: 1 is the header.", initial=17)
    column = serializers.CharField(help_text="Blank = the whole row.", initial="email")
    value = serializers.SerializerMethodField(method_name="get_shown", initial="not an address")
    rule = serializers.CharField(initial="email")
    sentence = serializers.CharField(initial="This is no e-mail address.")

    def get_shown(self, problem: ImportProblem) -> str:
        return personal.value(problem.column, problem.value, names=personal.OF_PEOPLE)


class ImportRowSerializer(serializers.Serializer[Any]):
    # Context: `header`.

    row = serializers.IntegerField(initial=2)
    values = serializers.SerializerMethodField(initial=["ada@example.com", "pro"])

    def get_values(self, record: Record) -> list[str]:
        return [
            personal.value(name, value, names=personal.OF_PEOPLE)
            for name, value in zip(self.context["header"], record.values, strict=False)
        ]


class CreateImport(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=200, initial="customers.csv")
    charset = serializers.ChoiceField(choices=list(CHARSETS), default="utf-8", initial="utf-8")
    delimiter = serializers.ChoiceField(
        choices=["", *DELIMITERS],
        default="",
        help_text="Blank = whichever the header has most of.",
    )


class Base64Field(serializers.CharField):
    def to_internal_value(self, data: Any) -> bytes:  # type: ignore[override]
        try:
            # validate: without it, whatever is no base64 is left out, and the file is another.
            return base64.b64decode(super().to_internal_value(data), validate=True)
        except ValueError as error:
            raise serializers.ValidationError("This is no base64.") from error


class ImportPartBody(serializers.Serializer[Any]):
    offset = serializers.IntegerField(
        min_value=0, help_text="Bytes of the file before this part: `received`.", initial=0
    )
    content = Base64Field(
        max_length=LARGEST_IN_BASE64, help_text="The bytes of the part, in base64.", initial="ZW1haWwscGxhbgo="
    )


class CheckImport(serializers.Serializer[Any]):
    columns = serializers.ListField(
        child=ImportColumnSerializer(),
        max_length=MOST_COLUMNS,
        help_text="In the order of the header.",
        initial=COLUMNS,
    )


class RejectedRowSerializer(serializers.Serializer[Any]):
    row = serializers.IntegerField(initial=17)
    reason = serializers.CharField(initial="email: This is no e-mail address.")
    values = serializers.ListField(child=serializers.CharField(), initial=["ada", "pro"])


class ImportTemplateAnswer(Envelope):
    columns = serializers.ListField(child=serializers.CharField(), initial=["user_id", "email", "plan"])


# Whole answers. `import` is no name that Python takes for a field.
ImportAnswer = enveloped("ImportAnswer", profileImport=ImportSerializer())
ImportPreviewAnswer = enveloped("ImportPreviewAnswer", rows=ImportRowSerializer(many=True, help_text="The first ten."))
RejectedAnswer = enveloped("RejectedAnswer", rows=RejectedRowSerializer(many=True))
