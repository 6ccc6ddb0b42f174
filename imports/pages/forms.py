"""The forms of imports: a new file, and what its columns are."""

from collections.abc import Sequence
from typing import Any

from django import forms

from access.pages.forms import Styled
from imports.rules.files import CHARSETS, DELIMITERS, Record
from imports.rules.rows import TYPES, ColumnUse
from imports.services import LARGEST_PART
from spaces import personal

IGNORED = "ignored"
SHOWN = 3  # values of a column, beside the choice


class NewImport(Styled):
    file = forms.FileField(
        label="CSV file",
        help_text="The first row names the columns. A blank field says nothing: what is known stays.",
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,text/csv"}),
    )
    charset = forms.ChoiceField(label="Charset", choices=[*CHARSETS.items()], initial="utf-8")
    delimiter = forms.ChoiceField(
        label="Fields are parted by",
        required=False,
        choices=[("", "as the header shows"), *((mark, f"a {name}") for mark, name in DELIMITERS.items())],
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        # Larger ones are sent in parts, by the page's script.
        if file.size > LARGEST_PART:
            raise forms.ValidationError("Without JavaScript a file may have 5 MB. The API takes larger ones in parts.")
        return file


class ColumnsForm(Styled):
    """A choice for each column: an identifier, a trait of some type and name, or nothing."""

    def __init__(
        self, *args: Any, header: Sequence[str], uses: Sequence[ColumnUse], possible: Sequence[str], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.header = header
        choices = [
            (IGNORED, "Leave it out"),
            ("Identifier", [(f"identifier:{type}", type) for type in possible]),
            ("Trait", [(f"trait:{type}", f"Trait: {label.lower()}") for type, label in TYPES.items()]),
        ]
        for place, (name, use) in enumerate(zip(header, uses, strict=True)):
            as_trait, as_identifier = f"trait:{use.type}", f"identifier:{use.name}"
            initial = {"ignored": IGNORED, "trait": as_trait, "identifier": as_identifier}[use.use]
            self.fields[f"use-{place}"] = forms.ChoiceField(
                label=f"What {name} is",
                choices=choices,
                initial=initial,
                widget=forms.Select(attrs={"class": "form-select form-select-sm"}),
            )
            self.fields[f"name-{place}"] = forms.CharField(
                label=f"Name of the trait {name}",
                required=False,
                max_length=200,
                initial=use.name if use.use == "trait" else name,
                widget=forms.TextInput(attrs={"class": "form-control form-control-sm", "spellcheck": "false"}),
            )

    @property
    def uses(self) -> list[ColumnUse]:
        """Of a valid form."""
        return [self._use(place) for place in range(len(self.header))]

    def _use(self, place: int) -> ColumnUse:
        use, _, detail = self.cleaned_data[f"use-{place}"].partition(":")
        if use == "identifier":
            return ColumnUse("identifier", detail)
        if use == "trait":
            return ColumnUse("trait", self.cleaned_data[f"name-{place}"] or self.header[place], detail)
        return ColumnUse("ignored")

    def rows(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The columns, each with its two fields and the first values that it has."""
        return [
            {
                "name": name,
                "use": self[f"use-{place}"],
                "trait": self[f"name-{place}"],
                "values": [
                    personal.value(name, record.values[place], names=personal.OF_PEOPLE)
                    for record in records
                    if place < len(record.values) and record.values[place].strip()
                ][:SHOWN],
            }
            for place, name in enumerate(self.header)
        ]
