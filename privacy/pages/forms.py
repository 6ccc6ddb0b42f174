"""The form of a new regulation."""

from collections.abc import Iterable
from typing import Any

from django import forms

from access.pages.forms import Styled
from privacy.rules.kinds import KINDS
from privacy.rules.subjects import MOST_SUBJECTS, SubjectError, read, subjects

LARGEST_FILE = 5 * 2**20  # 5,000 of the longest identifiers
LINES = "One a line: a user id, an e-mail address, or any other as type:value, such as anonymous_id:4f1c."


class NewRegulation(Styled):
    kind = forms.ChoiceField(label="What is to be done", widget=forms.RadioSelect)
    identifiers = forms.CharField(
        label="Identifiers",
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        required=False,
        help_text=LINES,
    )
    file = forms.FileField(
        label="Or a CSV file",
        required=False,
        help_text=f"The same lines, or two columns: type, value. Up to {MOST_SUBJECTS:,} identifiers together.",
    )
    sure = forms.BooleanField(label="I know that what is erased cannot be brought back", required=False)

    def __init__(self, *args: Any, of_space: bool, types: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kinds = [kind for kind in KINDS.values() if kind.of_spaces or not of_space]
        self.types = types
        self.fields["kind"].choices = [(kind.key, f"{kind.label}. {kind.about}") for kind in kinds]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        entries = super().clean()
        file, pairs = entries.get("file"), read(entries.get("identifiers", ""), self.types)
        if file and file.size > LARGEST_FILE:
            self.add_error("file", "The file is larger than so many identifiers can be.")
        elif file:
            try:
                pairs += read(file.read().decode("utf-8-sig").replace("\0", ""), self.types)
            except UnicodeDecodeError:
                self.add_error("file", "The file is no text in UTF-8.")
        kind = KINDS.get(entries.get("kind", ""))
        if kind and kind.erases and not entries.get("sure"):
            self.add_error("sure", "Tick this to go on.")
        try:
            entries["subjects"] = subjects(pairs)
        except SubjectError as error:
            self.add_error("identifiers", str(error))
        return entries
