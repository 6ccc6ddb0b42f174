"""What the API takes and answers about test cases."""

from typing import Any, ClassVar

from rest_framework import serializers

from access.api.serializers import AT, MomentField, enveloped
from audiences.api.serializers import (
    DEFINITION,
    TRAIT_DEFINITION,
    DefinitionField,
    ReasonSerializer,
    TraitDefinitionField,
    ValueField,
)
from audiences.rules.cases import LONGEST_TITLE


class CaseEventSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(initial="Order Completed")
    at = serializers.CharField(help_text="A moment, not after that of the case.", initial=AT)
    properties = serializers.DictField(required=False, initial={"revenue": 60})
    source = serializers.CharField(  # type: ignore[assignment]
        required=False, allow_blank=True, help_text="Slug of a source, where that matters.", initial="website"
    )


class CaseMembershipSerializer(serializers.Serializer[Any]):
    """An audience that the person is or was in."""

    key = serializers.CharField(initial="buyers")
    enteredAt = serializers.CharField(
        required=False, help_text="So long ago that no window reaches it, if left out.", initial=AT
    )
    leftAt = serializers.CharField(required=False, help_text="They are still in it, if left out.")


CASE = {
    "name": "Bought for 60 a day ago",
    "at": AT,
    "expected": True,
    "events": [
        {
            "name": "Order Completed",
            "at": "2026-06-14T12:00:00.000Z",
            "properties": {"revenue": 60},
            "source": "website",
        }
    ],
    "traits": {"plan": "pro"},
    "audiences": [],
    "anonymous": False,
    "split": 0,
}


class WriteCase(serializers.Serializer[Any]):
    """A made-up person or account at a moment, and what is to come of them."""

    example: ClassVar = CASE

    name = serializers.CharField(max_length=LONGEST_TITLE)
    at = serializers.CharField(help_text="The moment at which it is asked.")
    # One field for both: whether they are in an audience is a truth value.
    expected = ValueField(
        allow_null=True, help_text="Whether they are in it; of a computed trait its value, null = none."
    )
    events = CaseEventSerializer(many=True, required=False)
    traits = serializers.DictField(required=False, help_text="Custom and SQL traits, by their names.")
    audiences = CaseMembershipSerializer(many=True, required=False)
    anonymous = serializers.BooleanField(
        required=False, help_text="Nothing but an anonymous id is known of them; never of an account."
    )
    split = serializers.FloatField(required=False, help_text="Where their lot is in random splits, in per cent.")


class RunCases(serializers.Serializer[Any]):
    definition = DefinitionField(
        required=False, help_text="Instead of the newest one; nothing is saved.", initial=DEFINITION
    )


class RunTraitCases(serializers.Serializer[Any]):
    definition = TraitDefinitionField(
        required=False, help_text="Instead of the newest one; nothing is saved.", initial=TRAIT_DEFINITION
    )


class CaseSerializer(serializers.Serializer[Any]):
    # Of a `CaseOutcome`.

    example: ClassVar = {**CASE}

    id = serializers.CharField(source="kept.id", initial="cas_2qKf0")
    name = serializers.CharField(source="kept.case.title")
    at = MomentField(source="kept.case.at")
    expected = ValueField(source="kept.case.expected", allow_null=True)
    events = CaseEventSerializer(source="shown.events", many=True)
    traits = serializers.DictField(source="shown.traits")
    audiences = CaseMembershipSerializer(source="shown.audiences", many=True)
    anonymous = serializers.BooleanField(source="kept.case.anonymous")
    split = serializers.FloatField(source="kept.case.split")
    holds = serializers.BooleanField(help_text="What came is what was expected.", initial=True)
    came = ValueField(allow_null=True, help_text="As `expected`.", initial=True)  # type: ignore[arg-type]
    problem = serializers.CharField(help_text="Why it cannot be asked; empty when it can.", initial="")
    reasons = ReasonSerializer(
        many=True, help_text="What each condition came to, of a case that is broken.", initial=[]
    )


# Whole answers.
CaseAnswer = enveloped("CaseAnswer", case=CaseSerializer())
CasesAnswer = enveloped("CasesAnswer", cases=CaseSerializer(many=True))
