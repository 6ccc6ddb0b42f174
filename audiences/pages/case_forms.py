"""The form of a test case: a person that is made up, row by row."""

import json
from collections.abc import Sequence
from typing import Any

from django import forms
from django.forms import BaseFormSet, formset_factory
from django.http import QueryDict
from django.utils.timezone import localtime

from access.pages.forms import Styled
from audiences.models import Audience
from audiences.rules.cases import (
    LONGEST_TITLE,
    MOST_AUDIENCES,
    MOST_EVENTS,
    MOST_TRAITS,
    CaseEvent,
    CaseMembership,
    DefinitionCase,
    parse_case,
)
from audiences.rules.validation import LONGEST_NAME, DefinitionError
from spaces.times import iso

WRITTEN = "%Y-%m-%d %H:%M:%S"
IN, OUT = "in", "out"


class MomentBox(forms.DateTimeField):
    """A moment in the time zone of whoever reads."""

    def __init__(self, **options: Any) -> None:
        widget = forms.DateTimeInput(format=WRITTEN, attrs={"placeholder": "2026-06-15 12:00", "autocomplete": "off"})
        super().__init__(widget=widget, **options)


class JsonBox(forms.CharField):
    """JSON in one line. What is no JSON is a text, unless an object is wanted."""

    def __init__(self, *, is_object: bool = False, **options: Any) -> None:
        self.is_object = is_object
        super().__init__(max_length=10_000, **options)
        self.widget.attrs |= {"class": "mono", "spellcheck": "false", "autocomplete": "off"}

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return {} if self.is_object else None
        try:
            read = json.loads(text)
        # RecursionError: of thousands of brackets.
        except (ValueError, RecursionError) as error:
            if self.is_object:
                raise forms.ValidationError('Must be a JSON object, such as {"revenue": 60}.') from error
            return text
        if self.is_object and not isinstance(read, dict):
            raise forms.ValidationError('Must be a JSON object, such as {"revenue": 60}.')
        return read


# Plain Django form sets: each kind of row is a form of its own, and works without JavaScript.
class CaseForm(Styled):
    """What is not a row."""

    field_order = ("name", "at", "expected", "anonymous", "split")

    name = forms.CharField(max_length=LONGEST_TITLE, help_text="What it shows, such as “Bought twice in a week”")
    at = MomentBox(label="Asked at", help_text="The moment that windows and dates are counted from")
    anonymous = forms.BooleanField(required=False, label="Nothing but an anonymous id is known of the person")


class MemberCaseForm(CaseForm):
    """Of an audience."""

    expected = forms.ChoiceField(
        choices=[(IN, "In the audience"), (OUT, "Not in the audience")],
        widget=forms.RadioSelect,
    )
    split = forms.FloatField(
        required=False,
        min_value=0,
        max_value=99.9999,
        label="Lot in random splits, in per cent",
        help_text="From 0 to below 100; only a condition on a random split asks about it",
    )


class ValueCaseForm(CaseForm):
    """Of a computed trait."""

    expected = JsonBox(
        required=False,
        label="The value is to be",
        help_text='A number, a text, or a list such as ["a", "b"]; empty: no value. "42" is a text, 42 is a number.',
    )


class EventRow(Styled):
    name = forms.CharField(
        max_length=LONGEST_NAME, label="Event", widget=forms.TextInput(attrs={"list": "events-seen"})
    )
    at = MomentBox(label="When")
    properties = JsonBox(is_object=True, required=False, label="Properties")
    source = forms.CharField(required=False, max_length=100, label="Source")


class TraitRow(Styled):
    name = forms.CharField(max_length=LONGEST_NAME, label="Trait")
    value = JsonBox(required=False, label="Value")


class MembershipRow(Styled):
    key = forms.CharField(max_length=LONGEST_NAME, label="Key of the audience")
    entered_at = MomentBox(required=False, label="Entered")
    left_at = MomentBox(required=False, label="Left")


ROWS: dict[str, tuple[type[Styled], int]] = {
    "events": (EventRow, MOST_EVENTS),
    "traits": (TraitRow, MOST_TRAITS),
    "audiences": (MembershipRow, MOST_AUDIENCES),
}


class CaseForms:
    """The form, and its rows by what they are of. case: one that is changed; None = a new one. of: whose."""

    def __init__(
        self, case: DefinitionCase | None, data: QueryDict | None = None, *, of: Audience, **initial: Any
    ) -> None:
        self.of_trait = of_trait = of.kind == Audience.Kind.TRAIT
        self.of = of.of
        self.did = "What the person did" if of.whom.may_be_anonymous else "What users of the account did"
        # What was posted stands for itself: no row of it is one that was there before and has to stay.
        rows = {} if case is None or data is not None else _rows(case)
        posted = None if data is None else {**data.dict(), **{f"{name}-INITIAL_FORMS": "0" for name in ROWS}}
        form = ValueCaseForm if of_trait else MemberCaseForm
        self.form = form(posted, initial=initial if case is None else _head(case, of_trait=of_trait))
        # An account has its id or is none.
        if not of.whom.may_be_anonymous:
            del self.form.fields["anonymous"]
        if not of_trait:
            self.form.fields["expected"].label = f"The {of.whom.one} is to be"
        self.rows: dict[str, BaseFormSet[Styled]] = {
            # absolute_max: by default a thousand more are made for whoever asks for them.
            name: formset_factory(row, extra=1, max_num=most, absolute_max=most)(
                posted, initial=rows.get(name, []), prefix=name
            )
            for name, (row, most) in ROWS.items()
        }

    def read(self) -> DefinitionCase | None:
        """The case that it says; None when something is wrong, which stands at its place then."""
        # A list, not a chain of `and`: every form says what is wrong with it.
        valid = [self.form.is_valid(), *(rows.is_valid() for rows in self.rows.values())]
        if not all(valid):
            return None
        entries = self.form.cleaned_data
        written = {name: [row.cleaned_data for row in rows if row.has_changed()] for name, rows in self.rows.items()}
        try:
            return parse_case(
                {
                    "name": entries["name"],
                    "at": iso(entries["at"]),
                    "expected": entries["expected"] if self.of_trait else entries["expected"] == IN,
                    "anonymous": entries.get("anonymous", False),
                    "split": entries.get("split") or 0,
                    "events": [row | {"at": iso(row["at"])} for row in written["events"]],
                    "traits": {row["name"]: row["value"] for row in written["traits"]},
                    "audiences": [
                        {"key": row["key"]}
                        | ({"enteredAt": iso(row["entered_at"])} if row["entered_at"] else {})
                        | ({"leftAt": iso(row["left_at"])} if row["left_at"] else {})
                        for row in written["audiences"]
                    ],
                },
                of_trait=self.of_trait,
                of=self.of,
            )
        except DefinitionError as error:
            self.form.add_error(error.path if error.path in self.form.fields else None, f"{error}.")
            return None


def with_another_row(data: QueryDict, name: str) -> QueryDict:
    """The same as it was posted, with one more blank row of these."""
    more = data.copy()
    key = f"{name}-TOTAL_FORMS"
    # The count comes from the page, and with it anything.
    there = str(more.get(key, ""))[:4]
    if name in ROWS and there.isdecimal():
        more[key] = str(min(int(there) + 1, ROWS[name][1]))
    return more


def _head(case: DefinitionCase, *, of_trait: bool) -> dict[str, Any]:
    expected = _written(case.expected) if of_trait else IN if case.expected else OUT
    return {
        "name": case.title,
        "at": case.at,
        "expected": expected,
        "anonymous": case.anonymous,
        "split": case.split or None,
    }


def _rows(case: DefinitionCase) -> dict[str, list[dict[str, Any]]]:
    def event(row: CaseEvent) -> dict[str, Any]:
        properties = _written(dict(row.properties)) if row.properties else ""
        return {"name": row.name, "at": localtime(row.at), "properties": properties, "source": row.source}

    def membership(row: CaseMembership) -> dict[str, Any]:
        return {"key": row.key, "entered_at": row.entered_at, "left_at": row.left_at}

    memberships: Sequence[CaseMembership] = case.audiences
    return {
        "events": [event(row) for row in case.events],
        "traits": [{"name": name, "value": _written(value)} for name, value in (case.traits or {}).items()],
        "audiences": [membership(row) for row in memberships],
    }


def _written(value: Any) -> str:
    """As JsonBox reads it."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return value
    return json.dumps(value, ensure_ascii=False)
