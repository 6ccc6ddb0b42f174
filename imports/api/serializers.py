"""Imports as the API takes and answers them."""

import base64
from typing import Any, ClassVar

from rest_framework import serializers

from access.api.serializers import Envelope, MomentField, TextOrNull, enveloped
from imports import queries
from imports.models import ImportProblem, ProfileImport
from imports.rules.files import CHARSETS, DELIMITERS, MOST_COLUMNS, Record
from imports.rules.rows import TYPES
from spaces import personal
from spaces.clock import clock

LARGEST_IN_BASE64 = 4 * 2**20 * 4 // 3 + 4  # characters: of any request the API takes 6 MB


class ImportColumnSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"use": "trait", "name": "plan", "type": "text"}

    use = serializers.ChoiceField(choices=["identifier", "trait", "ignored"])
    name = serializers.CharField(
        max_length=200, allow_blank=True, default="", help_text="Of the identifier or the trait; blank = it is ignored."
    )
    type = serializers.ChoiceField(choices=list(TYPES), default="text", help_text="What the values of a trait are.")


class ImportCountsSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"good": 9_998, "known": 9_000, "new": 998, "joining": 3, "rejected": 2}

    good = serializers.IntegerField(default=0, help_text="Rows that can be imported.")
    known = serializers.IntegerField(default=0, help_text="Of these, about people who have a profile.")
    new = serializers.IntegerField(default=0, help_text="About others.")
    joining = serializers.IntegerField(default=0, help_text="With identifiers of several profiles, which may merge.")
    rejected = serializers.IntegerField(default=0)


class SentCountsSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"good": 9_998, "rejected": 2}

    good = serializers.IntegerField(default=0)
    rejected = serializers.IntegerField(default=0)


class ImportSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "imp_2qKf0",
        "name": "customers.csv",
        "state": "checked",
        "error": None,
        "received": 1_048_576,
        "header": ["email", "plan"],
        "columns": [{"use": "identifier", "name": "email", "type": "text"}, ImportColumnSerializer.example],
        "rules": {"email": 2},
        "sent": {"good": 0, "rejected": 0},
        "done": 1.0,
        "rowsPerSecond": 0.0,
        "secondsLeft": None,
        "sourceId": None,
        "fileKept": True,
        "createdBy": "usr_2qKf0",
        "endedAt": None,
    }

    id = serializers.CharField(source="public_id")
    name = serializers.CharField(help_text="Of the file.")
    state = serializers.ChoiceField(choices=ProfileImport.State.values)
    error = TextOrNull(help_text="Why it does not go on at this moment; null = it does.")
    received = serializers.IntegerField(help_text="Bytes of the file so far: where the next part begins.")
    header = serializers.ListField(child=serializers.CharField())
    columns = ImportColumnSerializer(many=True, help_text="In the order of the header; a guess until it is checked.")
    check = ImportCountsSerializer(source="counts")
    rules = serializers.DictField(child=serializers.IntegerField(), help_text="What is wrong with rows: rule → times.")
    sent = SentCountsSerializer(help_text="Rows that the run has come past.")
    done = serializers.SerializerMethodField(help_text="How much of what it is at, from 0 to 1.")
    rowsPerSecond = serializers.SerializerMethodField()
    secondsLeft = serializers.SerializerMethodField()
    sourceId = serializers.CharField(source="source.public_id", default=None, allow_null=True)
    fileKept = serializers.BooleanField(source="file_kept", read_only=True)
    createdBy = serializers.CharField(source="created_by.public_id", default=None, allow_null=True)
    createdAt = MomentField(source="created_at")
    endedAt = MomentField(source="ended_at", allow_null=True)

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
    example: ClassVar = {
        "row": 17,
        "column": "email",
        "value": "not an address",
        "rule": "email",
        "sentence": "This is no e-mail address.",
    }

    row = serializers.IntegerField(help_text="As a spreadsheet counts them: 1 is the header.")
    column = serializers.CharField(help_text="Blank = the whole row.")
    value = serializers.SerializerMethodField(method_name="get_shown")
    rule = serializers.CharField()
    sentence = serializers.CharField()

    def get_shown(self, problem: ImportProblem) -> str:
        return personal.value(problem.column, problem.value, names=personal.OF_PEOPLE)


class ImportRowSerializer(serializers.Serializer[Any]):
    # Context: `header`.

    example: ClassVar = {"row": 2, "values": ["ada@example.com", "pro"]}

    row = serializers.IntegerField()
    values = serializers.SerializerMethodField()

    def get_values(self, record: Record) -> list[str]:
        return [
            personal.value(name, value, names=personal.OF_PEOPLE)
            for name, value in zip(self.context["header"], record.values, strict=False)
        ]


class CreateImport(serializers.Serializer[Any]):
    example: ClassVar = {"name": "customers.csv", "charset": "utf-8"}

    name = serializers.CharField(max_length=200)
    charset = serializers.ChoiceField(choices=list(CHARSETS), default="utf-8")
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
    example: ClassVar = {"offset": 0, "content": "ZW1haWwscGxhbgo="}

    offset = serializers.IntegerField(min_value=0, help_text="Bytes of the file before this part: `received`.")
    content = Base64Field(max_length=LARGEST_IN_BASE64, help_text="The bytes of the part, in base64.")


class CheckImport(serializers.Serializer[Any]):
    example: ClassVar = {"columns": ImportSerializer.example["columns"]}

    columns = serializers.ListField(
        child=ImportColumnSerializer(), max_length=MOST_COLUMNS, help_text="In the order of the header."
    )


class RejectedRowSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"row": 17, "reason": "email: This is no e-mail address.", "values": ["ada", "pro"]}

    row = serializers.IntegerField()
    reason = serializers.CharField()
    values = serializers.ListField(child=serializers.CharField())


class ImportTemplateAnswer(Envelope):
    example: ClassVar = {"columns": ["user_id", "email", "plan"]}

    columns = serializers.ListField(child=serializers.CharField())


# Whole answers. `import` is no name that Python takes for a field.
ImportAnswer = enveloped("ImportAnswer", profileImport=ImportSerializer())
ImportPreviewAnswer = enveloped("ImportPreviewAnswer", rows=ImportRowSerializer(many=True, help_text="The first ten."))
RejectedAnswer = enveloped("RejectedAnswer", rows=RejectedRowSerializer(many=True))
