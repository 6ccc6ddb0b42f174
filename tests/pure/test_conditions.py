"""What each kind of condition, and of computed trait, says, asks and waits for: exactly what its golden file says. A
kind without one fails."""

import json
import tomllib
from pathlib import Path

import pytest

from audiences.conditions import KINDS
from audiences.rules.aggregates import Answers
from audiences.rules.grammar import Leaf, bound, parse, parse_trait, sentence, to_json, traits
from audiences.rules.traits import TraitKind
from audiences.traits import TRAITS
from sources.events.sql import Sql

GOLDEN = Path(__file__).parent.parent / "golden"
NOW = 1_781_524_800_000  # 2026-06-15 12:00 UTC


def golden(folder, kind):
    path = GOLDEN / folder / f"{kind}.toml"
    return tomllib.loads(path.read_text())["case"] if path.exists() else []


def cases(folder, kinds):
    return [pytest.param(kind, case, id=f"{kind}: {case['name']}") for kind in kinds for case in golden(folder, kind)]


CASES, TRAIT_CASES = cases("conditions", KINDS), cases("traits", TRAITS)
SOURCES = {"website": 7, "ios": 8}
TRAIT = {"kind": "event_counter", "name": "Order Completed", "within": {"days": 90}}  # that conditions ask about


def compiled(definition):
    """Everything that the rest of the product asks of a condition, as a golden file has it."""
    node = parse(definition)
    return of_leaf(bound(node, dict.fromkeys(traits(node), parse_trait(TRAIT)), SOURCES))


def of_leaf(node):
    assert isinstance(node, Leaf)
    condition = node.condition
    aggregates = condition.aggregates(NOW)
    columns = [f"m{n}" for n in range(1, len(aggregates) + 1)]
    answers = Answers(
        columns,
        NOW,
        lambda key: Sql(f"is_in:{key}"),
        lambda past: Sql(f"was_in:{past.name}"),
        lambda name: Sql(f"lot:{name}"),
    )
    is_trait = isinstance(condition, TraitKind)
    return {
        "sentence": condition.sentence() if is_trait else sentence(node),
        "aggregates": [
            {"in": each.shape.column, "named": [*each.names], "since": each.since or "ever", **shown(each.expression)}
            for each in aggregates
        ],
        **({"value": shown(condition.value(answers))} if is_trait else {"test": shown(condition.test(answers))}),
        "change_keys": sorted(condition.change_keys()),
        "time_triggers": [
            {
                "named": each.name,
                "due": shown(each.due(NOW - 90_000_000, NOW)),
                "coming": shown(each.coming(NOW, NOW + 3_600_000, 9)),
            }
            for each in condition.time_triggers()
        ],
        "audiences": sorted(condition.audiences()),
    }


def shown(sql):
    return {"sql": sql.text, "values": json.loads(json.dumps(sql.values))}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_condition_has_a_golden_file(kind):
    assert golden("conditions", kind)


@pytest.mark.parametrize("kind", TRAITS)
def test_every_kind_of_computed_trait_has_a_golden_file(kind):
    assert golden("traits", kind)
    assert (TRAITS[kind].kind, bool(TRAITS[kind].label)) == (kind, True)


@pytest.mark.parametrize(("kind", "case"), TRAIT_CASES)
def test_a_computed_trait_is_what_its_golden_file_says(kind, case):
    definition = json.loads(case["definition"])
    leaf = parse_trait(definition)
    assert (definition["kind"], to_json(leaf)) == (kind, to_json(parse_trait(to_json(leaf))))
    assert of_leaf(leaf) == {name: case[name] for name in of_leaf(leaf)}


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_a_condition_is_what_its_golden_file_says(kind, case):
    definition = json.loads(case["definition"])
    assert definition["kind"] == kind
    assert compiled(definition) == {name: case[name] for name in compiled(definition)}


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_what_a_condition_says_of_itself_reads_back_the_same(kind, case):
    node = parse(json.loads(case["definition"]))
    written = to_json(node)
    assert parse(written) == node
    assert to_json(parse(written)) == written


@pytest.mark.parametrize("kind", KINDS)
def test_the_golden_file_uses_every_field_that_the_kind_declares(kind):
    """Those that it has from another kind are in that kind's file."""
    inherited = {name for base in KINDS[kind].__mro__[1:] if "kind" in vars(base) for name in base.fields}
    used = {name for case in golden("conditions", kind) for name in to_json(parse(json.loads(case["definition"])))} - {
        "kind"
    }
    assert used - {"op", "value"} <= set(KINDS[kind].fields) - {"op", "value"}
    assert set(KINDS[kind].fields) - inherited <= used


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_named_as_its_file(kind):
    assert KINDS[kind].kind == kind
    assert KINDS[kind].label
