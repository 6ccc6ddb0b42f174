"""The rules of what is sent as rows of a form, and back."""

from typing import Any

import pytest

from destinations.rules.sending import load_sending, parse_sending, sending_json
from destinations.rules.sending_form import SendingRows, rows_given, rows_of, sending_of
from spaces.settings_schema import InvalidSetting

PLAN = {"kind": "trait", "key": "plan"}
RULES = {
    "identifiers": [{"type": "phone", "which": "last", "hash": "sha256", "name": "mobile"}],
    "mobile": True,
    "fields": [
        {"to": "a", "value": PLAN},
        {"to": "b", "value": {"kind": "coalesce", "of": [PLAN, {"kind": "static", "value": "free"}]}},
        {"to": "c", "value": {"kind": "case", "of": PLAN, "to": "upper"}},
        {"to": "d", "value": {"kind": "hash", "of": PLAN, "algorithm": "md5", "normalise": "lower"}},
        {"to": "e", "value": {"kind": "date", "of": PLAN, "format": "%Y"}},
        {"to": "f", "value": {"kind": "replace", "of": PLAN, "find": "x", "by": "y"}},
        {"to": "g", "value": {"kind": "static", "value": 5}},
        {"to": "h", "value": {"kind": "concatenate", "of": [PLAN, PLAN], "between": "-"}},
        {"to": "i", "value": {"kind": "template", "text": "{{trait.plan}}"}},
    ],
    "only": [
        {"trait": "orders", "operator": "at_least", "value": "2"},
        {"trait": "x", "operator": "exists", "value": None},
    ],
    "consent": "consent.marketing",
    "capPercent": 20,
}  # fmt: skip


def sent(rows: SendingRows) -> dict[str, str]:
    """What a browser sends of these rows."""
    inputs = {"consent": rows.consent, "cap_percent": rows.cap_percent, **({"mobile": "1"} if rows.mobile else {})}
    for name, entries in (("identifier", rows.identifiers), ("field", rows.fields), ("only", rows.only)):
        inputs[f"{name}-count"] = str(len(entries))
        for place, entry in enumerate(entries):
            parts = {part: value for part, value in vars(entry).items() if value not in (False, "")}
            inputs |= {f"{name}-{place}-{part}": "1" if value is True else value for part, value in parts.items()}
    return inputs


def back(rows: SendingRows) -> dict[str, Any]:
    inputs = sent(rows)
    return sending_of(rows_given(lambda name: inputs.get(name, "")))


def test_what_the_form_shows_and_sends_back_means_the_same() -> None:
    rules = load_sending(RULES)
    rows = rows_of(rules, ["user_id", "phone"])
    assert [row.kind for row in rows.fields].count("formula") == 2  # a number, and two traits together
    assert parse_sending(back(rows), known=["*"]) == rules
    assert sending_json(rules) == RULES


def test_empty_rows_mean_nothing() -> None:
    assert load_sending(back(rows_of(load_sending({}), ["user_id"]))) == load_sending({})


def test_a_further_row_is_asked_for() -> None:
    inputs = sent(rows_of(load_sending(RULES), []))
    assert len(rows_given(lambda name: inputs.get(name, ""), more=True).fields) == len(RULES["fields"]) + 2


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ({"field-count": "1", "field-0-kind": "formula", "field-0-what": "{"}, "fields[0].value"),
        ({"cap_percent": "many"}, "capPercent"),
    ],
)
def test_what_is_no_json_or_no_number_is_refused(inputs: dict[str, str], path: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        sending_of(rows_given(lambda name: inputs.get(name, "")))
    assert refusal.value.field == path


@pytest.mark.parametrize("count", ["-1", "x", "99999", "", "٣"])
def test_any_number_of_rows_may_be_claimed(count: str) -> None:
    assert (
        len(rows_given({"field-count": count}.get and (lambda name: count if name == "field-count" else "")).fields)
        == 1
    )
