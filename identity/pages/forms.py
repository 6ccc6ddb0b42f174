"""The form for the identity rules of a space: a row for each identifier, in the order of priority."""

import re
from typing import Any

from django import forms

from access.pages.forms import Styled
from identity.rules.policy import PER, RECOMMENDED, Blocked, Definition, Limit, Policy, PolicyError, extended

MOST_OF_A_TYPE = 1_000_000
LINES = {"rows": 4, "spellcheck": "false", "autocomplete": "off", "class": "mono"}
PARTS = {"limit.count": "count", "limit.period": "period", "blocked.values": "values", "blocked.patterns": "patterns"}

LONGEST_NOTE = 2_000


class Rules(Styled):
    """Limit, period and blocked values of each identifier. `policy` is what the entries mean, once they are valid."""

    policy: Policy

    def __init__(self, *args: Any, current: Policy, **kwargs: Any) -> None:
        self.current = current
        super().__init__(*args, **kwargs)

    def clean(self) -> dict[str, Any]:
        """The rules are read as the API reads them, so that both allow the same."""
        entries = super().clean() or {}
        if self.errors:
            return entries
        rows = [
            {
                "type": type,
                "limit": {"count": entries[f"count-{type}"], "period": entries[f"period-{type}"]},
                "blocked": {
                    # A browser ends lines with \r\n; an empty one, or one twice, is of no use to anybody.
                    part: list(dict.fromkeys(filter(None, map(str.strip, entries[f"{part}-{type}"].splitlines()))))
                    for part in ("values", "patterns")
                },
            }
            for type in self.current.rank
        ]
        try:
            self.policy = Policy.from_json(self.current.to_json() | {"identifiers": rows})
        except PolicyError as error:
            # The path names the field, as in `identifiers[1].blocked.patterns[0]`; without one it is of the whole form.
            match = re.match(r"identifiers\[(\d+)\]\.(\w+\.\w+)", error.path)
            field = f"{PARTS[match[2]]}-{self.current.identifiers[int(match[1])].type}" if match else None
            self.add_error(field, error.message)
        return entries

    @property
    def rows(self) -> list[dict[str, Any]]:
        last = len(self.current.identifiers) - 1
        return [
            {
                "type": definition.type,
                "rank": number + 1,
                "first": number == 0,
                "last": number == last,
                "open": any(self.errors.get(f"{part}-{definition.type}") for part in ("values", "patterns")),
                "blocked": len(definition.blocked.values) + len(definition.blocked.patterns),
            }
            | {part: self[f"{part}-{definition.type}"] for part in PARTS.values()}
            for number, definition in enumerate(self.current.identifiers)
        ]


FIRST = "-"  # after none: no identifier can have this name


class NewIdentifier(Styled):
    """An identifier of the space's own. `policy` is the rules with it, once the entries are valid."""

    policy: Policy

    name = forms.CharField(
        label="Name",
        max_length=60,
        help_text="Small letters and digits, words parted by _ . or -, such as loyalty_id.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "mono"}),
    )
    count = forms.IntegerField(label="Most values of one person", min_value=1, max_value=MOST_OF_A_TYPE, initial=5)
    period = forms.ChoiceField(label="Within which time", choices=PER.items(), initial="ever")
    after = forms.ChoiceField(
        label="Priority",
        help_text="When a limit would be broken, the least trusted identifier of an event is left out.",
    )
    recommended = forms.BooleanField(
        label="Block what careless programs send",
        required=False,
        initial=True,
        help_text="Such as null, undefined and zeroes: nobody is known by these.",
    )

    def __init__(self, *args: Any, current: Policy, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.current = current
        types = [definition.type for definition in current.identifiers]
        ranks = [(type, f"{rank}: after {type}") for rank, type in enumerate(types, 2)]
        after: Any = self.fields["after"]
        after.choices, after.initial = [(FIRST, "1: the most trusted"), *ranks], types[-1]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if name in self.current.rank:  # the rules would say so too, and by the place in a list that nobody sees
            raise forms.ValidationError(f"This space has the identifier {name} already.")
        return name

    def clean(self) -> dict[str, Any]:
        """Whether it can be is for the rules to say, as by the API."""
        entries = super().clean() or {}
        if not self.errors:
            limit = Limit(entries["count"], entries["period"])
            new = Definition(entries["name"], limit, RECOMMENDED if entries["recommended"] else Blocked())
            try:
                self.policy = extended(self.current, new, after=entries["after"])
            except PolicyError as error:
                sentence = f"{error.message[:1].upper()}{error.message[1:]}."
                self.add_error("name" if error.path.endswith(".type") else None, sentence)
        return entries


def rules_form(entries: Any, *, current: Policy) -> Rules:
    """The form with a row for each identifier of these rules."""
    fields: dict[str, forms.Field] = {}
    for definition in current.identifiers:
        name, blocked = definition.type, definition.blocked
        fields[f"count-{name}"] = forms.IntegerField(
            label=f"Most values of {name}",
            min_value=1,
            max_value=MOST_OF_A_TYPE,
            initial=definition.limit.count,
            widget=forms.NumberInput(attrs={"class": "form-control-sm"}),
        )
        fields[f"period-{name}"] = forms.ChoiceField(
            label=f"Period for {name}",
            choices=PER.items(),
            initial=definition.limit.period,
            widget=forms.Select(attrs={"class": "form-select-sm"}),
        )
        fields[f"values-{name}"] = _lines_field(f"Exact values of {name}, one on each line", blocked.values)
        fields[f"patterns-{name}"] = _lines_field(
            f"Patterns of {name}: RE2 regular expressions, one on each line", blocked.patterns
        )
    # Django finds the fields of a form on its class.
    return type("RulesOfSpace", (Rules,), fields)(entries, current=current)


def _lines_field(label: str, lines: tuple[str, ...]) -> forms.Field:
    text = "\n".join(lines)
    return forms.CharField(label=label, required=False, initial=text, widget=forms.Textarea(attrs=dict(LINES)))


class NoteForm(Styled):
    """What the team wants to remember of a person."""

    label = forms.CharField(max_length=60, required=False, help_text="Such as VIP. A search finds it.")
    text = forms.CharField(
        label="Note", max_length=LONGEST_NOTE, required=False, widget=forms.Textarea(attrs={"rows": 3})
    )
