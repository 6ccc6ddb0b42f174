"""What each kind of condition says, asks and waits for: exactly what its golden file says. A kind without one fails."""

import json
import tomllib
from pathlib import Path

import pytest

from audiences.conditions import KINDS
from audiences.rules.aggregates import Answers
from audiences.rules.grammar import Leaf, parse, sentence, to_json
from sources.events.sql import Sql

GOLDEN = Path(__file__).parent.parent / "golden" / "conditions"
NOW = 1_781_524_800_000  # 2026-06-15 12:00 UTC


def golden(kind):
    path = GOLDEN / f"{kind}.toml"
    return tomllib.loads(path.read_text())["case"] if path.exists() else []


CASES = [pytest.param(kind, case, id=f"{kind}: {case['name']}") for kind in KINDS for case in golden(kind)]


def compiled(definition):
    """Everything that the rest of the product asks of a condition, as a golden file has it."""
    node = parse(definition)
    assert isinstance(node, Leaf)
    condition = node.condition
    aggregates = condition.aggregates(NOW)
    columns = [f"m{n}" for n in range(1, len(aggregates) + 1)]
    test = condition.test(Answers(columns, NOW, lambda key: Sql(f"is_in:{key}"), lambda name: Sql(f"lot:{name}")))
    return {
        "sentence": sentence(node),
        "aggregates": [
            {"in": each.shape.column, "named": [*each.names], "since": each.since or "ever", **shown(each.expression)}
            for each in aggregates
        ],
        "test": shown(test),
        "change_keys": sorted(condition.change_keys()),
        "time_triggers": [
            {"named": each.name, "due": shown(each.due(NOW - 90_000_000, NOW)), "next": shown(each.next(NOW))}
            for each in condition.time_triggers()
        ],
        "audiences": sorted(condition.audiences()),
    }


def shown(sql):
    return {"sql": sql.text, "values": json.loads(json.dumps(sql.values))}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_condition_has_a_golden_file(kind):
    assert golden(kind)


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
    used = {name for case in golden(kind) for name in to_json(parse(json.loads(case["definition"])))} - {"kind"}
    assert used - {"op", "value"} <= set(KINDS[kind].fields) - {"op", "value"}
    assert set(KINDS[kind].fields) <= used


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_named_as_its_file(kind):
    assert KINDS[kind].kind == kind
    assert KINDS[kind].label
