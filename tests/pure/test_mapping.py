"""What a field over there is filled with: each kind of value, and what is refused, by its path."""

from hashlib import md5, sha256
from typing import Any

import pytest

from destinations.rules.mapping import MappingFacts
from destinations.rules.sending import load_sending, parse_sending, sending_json
from spaces.settings_schema import InvalidSetting

FACTS = MappingFacts(
    traits={
        "plan": "Pro",
        "orders": 3.0,
        "tags": ["a", "b"],
        "born": "1990-05-01",
        "seen": 1_767_225_600_000,
        "consent": {"marketing": True},
        "dotted.name": "whole",
        "phone": "+49 (30) 12-34",
    },
    properties={"key": "vip", "name": "VIPs", "entering": True},
    identifiers={"email": "ada@x.org"},
)
PLAN = {"kind": "trait", "key": "plan"}
NONE = {"kind": "trait", "key": "nothing"}
NO_FIND = {"kind": "replace", "of": PLAN, "find": ""}
FILLED = "Pro in VIPs: 3"
PHONE = sha256(b"+49301234").hexdigest()


def filled(value: dict[str, Any]) -> Any:
    rules = parse_sending({"fields": [{"to": "there", "value": value}]}, known=["*"])
    assert load_sending(sending_json(rules)) == rules
    return rules.filled(FACTS).get("there")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"kind": "static", "value": "x"}, "x"),
        ({"kind": "static", "value": False}, False),
        (PLAN, "Pro"),
        (NONE, None),
        ({"kind": "trait", "key": "consent.marketing"}, True),
        ({"kind": "trait", "key": "dotted.name"}, "whole"),
        ({"kind": "trait", "key": "tags"}, ["a", "b"]),
        ({"kind": "property", "name": "key"}, "vip"),
        ({"kind": "property", "name": "entering"}, True),
        ({"kind": "identifier", "type": "email"}, "ada@x.org"),
        ({"kind": "template", "text": "{{ trait.plan }} in {{property.name}}{{trait.no}}: {{trait.orders}}"}, FILLED),
        ({"kind": "coalesce", "of": [NONE, PLAN]}, "Pro"),
        ({"kind": "coalesce", "of": [NONE]}, None),
        ({"kind": "concatenate", "of": [PLAN, NONE, {"kind": "property", "name": "key"}], "between": "-"}, "Pro-vip"),
        ({"kind": "case", "of": PLAN, "to": "upper"}, "PRO"),
        ({"kind": "case", "of": NONE, "to": "lower"}, None),
        ({"kind": "replace", "of": PLAN, "find": "P", "by": "T"}, "Tro"),
        ({"kind": "date", "of": {"kind": "trait", "key": "born"}, "format": "%d.%m.%Y"}, "01.05.1990"),
        ({"kind": "date", "of": {"kind": "trait", "key": "seen"}}, "2026-01-01T00:00:00Z"),
        ({"kind": "date", "of": {"kind": "trait", "key": "born"}, "format": "seconds"}, 641520000),
        ({"kind": "date", "of": PLAN}, None),
        ({"kind": "hash", "of": PLAN, "normalise": "lower"}, sha256(b"pro").hexdigest()),
        ({"kind": "hash", "of": {"kind": "trait", "key": "phone"}, "normalise": "phone"}, PHONE),
        ({"kind": "hash", "of": PLAN, "algorithm": "md5"}, md5(b"Pro").hexdigest()),
        ({"kind": "hash", "of": NONE}, None),
    ],
)  # fmt: skip
def test_a_value_comes_to(value: dict[str, Any], expected: Any) -> None:
    assert filled(value) == expected


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = PLAN
    for _ in range(levels):
        value = {"kind": "case", "of": value, "to": "upper"}
    return value


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"fields": [{"to": "a", "value": {"kind": "eval", "code": "1"}}]}, "fields[0].value.kind"),
        ({"fields": [{"to": "a", "value": {"kind": "trait"}}]}, "fields[0].value"),
        ({"fields": [{"to": "a", "value": {"kind": "trait", "key": " "}}]}, "fields[0].value.key"),
        ({"fields": [{"to": "a", "value": PLAN}, {"to": "", "value": PLAN}]}, "fields[1].to"),
        ({"fields": [{"to": "a", "value": PLAN}, {"to": "a", "value": PLAN}]}, "fields[1]"),
        ({"fields": [{"to": "a", "value": {"kind": "property", "name": "secret"}}]}, "fields[0].value.name"),
        ({"fields": [{"to": "a", "value": {"kind": "template", "text": "{{code}}"}}]}, "fields[0].value.text"),
        ({"fields": [{"to": "a", "value": {"kind": "template", "text": "{{property.x}}"}}]}, "fields[0].value.text"),
        ({"fields": [{"to": "a", "value": {"kind": "coalesce", "of": []}}]}, "fields[0].value.of"),
        ({"fields": [{"to": "a", "value": {"kind": "date", "of": PLAN, "format": "%Q"}}]}, "fields[0].value.format"),
        ({"fields": [{"to": "a", "value": {"kind": "coalesce", "of": [PLAN, NO_FIND]}}]}, "fields[0].value.of[1].find"),
        ({"fields": [{"to": "a", "value": deep(5)}]}, "fields[0].value" + ".of" * 5),
        ({"fields": [{"to": "a", "value": deep(5000)}]}, "fields"),
        ({"fields": [{"to": f"f{n}", "value": PLAN} for n in range(51)]}, "fields"),
        ({"identifiers": [{"type": "email"}, {"type": "no type"}]}, "identifiers[1].type"),
        ({"identifiers": [{"type": "email", "which": "some"}]}, "identifiers[0].which"),
        ({"only": [{"trait": "plan", "operator": "is"}]}, "only[0].value"),
        ({"capPercent": 101}, "capPercent"),
        ({"colour": "red"}, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_path(given: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        parse_sending(given, known=["*"])
    assert refusal.value.field == path


def test_nothing_is_hashed_twice() -> None:
    with pytest.raises(InvalidSetting, match="as it is") as refusal:
        parse_sending({"identifiers": [{"type": "email", "hash": "md5"}]}, known=["email"])
    assert refusal.value.field == "identifiers[0].hash"


def test_a_destination_takes_only_the_identifiers_that_it_knows() -> None:
    with pytest.raises(InvalidSetting, match="knows email"):
        parse_sending({"identifiers": [{"type": "phone"}]}, known=["email"])


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"trait": "plan", "operator": "is", "value": "pro"}, True),
        ({"trait": "plan", "operator": "is_not", "value": "pro"}, False),
        ({"trait": "nothing", "operator": "is_not", "value": "pro"}, True),
        ({"trait": "orders", "operator": "at_least", "value": "3"}, True),
        ({"trait": "orders", "operator": "at_most", "value": 2}, False),
        ({"trait": "born", "operator": "at_most", "value": "2000-01-01"}, True),
        ({"trait": "tags", "operator": "is", "value": "b"}, True),
        ({"trait": "plan", "operator": "contains", "value": "RO"}, True),
        ({"trait": "nothing", "operator": "at_least", "value": 0}, False),
        ({"trait": "nothing", "operator": "absent"}, True),
        ({"trait": "plan", "operator": "exists"}, True),
    ],
)
def test_a_filter_holds(rule: dict[str, Any], holds: bool) -> None:
    rules = parse_sending({"only": [rule]}, known=["*"])
    assert (rules.kept_out(FACTS.traits) == "") is holds
    assert rules.deciding == {rule["trait"]}


@pytest.mark.parametrize(("value", "goes"), [(True, True), ("Yes", True), ("no", False), (False, False), (None, False)])
def test_consent_must_be_given(value: Any, goes: bool) -> None:
    rules = parse_sending({"consent": "consent.marketing"}, known=["*"])
    assert (rules.kept_out({"consent": {"marketing": value}}) == "") is goes
    assert rules.traits == {"consent", "consent.marketing"}


def test_what_nobody_asks_for_is_as_it_always_was() -> None:
    rules = load_sending({})
    usual = ["user_id", "email"]
    assert [*rules.by_type(["user_id", "email", "anonymous_id"], usual=usual)] == usual
    assert [*rules.by_type(["email"], usual=usual)] == ["email"]
    assert rules.filled(FACTS) == {}
    mobile = load_sending({"mobile": True}).by_type(["email", "*"], usual=usual)
    assert {"ios.idfa", "android.idfa", "email"} <= mobile.keys()
