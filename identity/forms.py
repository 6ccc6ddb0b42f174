"""The form for the identity rules of a space: a row for each identifier, in the order of priority."""

import re
from typing import Any

from django import forms

from access.forms import Styled
from identity.rules import PER, Policy, PolicyError

LINES = {"rows": 4, "spellcheck": "false", "autocomplete": "off", "class": "mono"}
PARTS = {"limit.count": "count", "limit.period": "period", "blocked.values": "values", "blocked.patterns": "patterns"}


class Rules(Styled):
    """Limit, period and blocked values of each identifier. `policy` is what the entries mean, once they are valid."""

    policy: Policy

    def __init__(self, *args: Any, kept: Policy, **kwargs: Any) -> None:
        self.kept = kept
        super().__init__(*args, **kwargs)

    def clean(self) -> dict[str, Any]:
        """The rules are read as the API reads them, so that both allow the same."""
        entries = super().clean() or {}
        if not self.errors:
            try:
                self.policy = Policy.from_json(self._as_json(entries))
            except PolicyError as error:
                self.add_error(self._field_at(error.path), error.message)
        return entries

    def _as_json(self, entries: dict[str, Any]) -> dict[str, Any]:
        rows = [
            {
                "type": each.type,
                "limit": {"count": entries[f"count-{each.type}"], "period": entries[f"period-{each.type}"]},
                "blocked": {part: _written(entries[f"{part}-{each.type}"]) for part in ("values", "patterns")},
            }
            for each in self.kept.identifiers
        ]
        return self.kept.to_json() | {"identifiers": rows}

    def _field_at(self, path: str) -> str | None:
        """The field behind a path such as `identifiers[1].blocked.patterns[0]`."""
        found = re.match(r"identifiers\[(\d+)\]\.(\w+\.\w+)", path)
        return f"{PARTS[found[2]]}-{self.kept.identifiers[int(found[1])].type}" if found else None

    @property
    def rows(self) -> list[dict[str, Any]]:
        last = len(self.kept.identifiers) - 1
        return [
            {
                "type": each.type,
                "rank": number + 1,
                "first": number == 0,
                "last": number == last,
                "open": any(self.errors.get(f"{part}-{each.type}") for part in ("values", "patterns")),
                "blocked": len(each.blocked.values) + len(each.blocked.patterns),
            }
            | {part: self[f"{part}-{each.type}"] for part in PARTS.values()}
            for number, each in enumerate(self.kept.identifiers)
        ]


def rules_form(entries: Any, *, kept: Policy) -> Rules:
    """The form with a row for each identifier of these rules."""
    fields: dict[str, forms.Field] = {}
    for each in kept.identifiers:
        fields[f"count-{each.type}"] = forms.IntegerField(
            label=f"Most values of {each.type}",
            min_value=1,
            max_value=1_000_000,
            initial=each.limit.count,
            widget=forms.NumberInput(attrs={"class": "form-control-sm"}),
        )
        fields[f"period-{each.type}"] = forms.ChoiceField(
            label=f"Period for {each.type}",
            choices=PER.items(),
            initial=each.limit.period,
            widget=forms.Select(attrs={"class": "form-select-sm"}),
        )
        fields[f"values-{each.type}"] = _lines(f"Exact values of {each.type}, one on each line", each.blocked.values)
        fields[f"patterns-{each.type}"] = _lines(
            f"Patterns of {each.type}: regular expressions, one on each line", each.blocked.patterns
        )
    return type("RulesOfSpace", (Rules,), fields)(entries, kept=kept)


def _lines(label: str, lines: tuple[str, ...]) -> forms.Field:
    text = "\n".join(lines)
    return forms.CharField(label=label, required=False, initial=text, widget=forms.Textarea(attrs=dict(LINES)))


def _written(text: str) -> list[str]:
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
