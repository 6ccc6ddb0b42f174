"""The API describes itself: without a warning, valid, with every route in it, and truly."""

import copy
import re

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from jsonschema import ValidationError

from access.gate import need_of
from tests import contract, openapi
from tests.routes import UNDESCRIBED, api_routes

DESCRIBED = [route for route in api_routes() if route.path not in UNDESCRIBED]


@pytest.fixture(scope="module")
def document():
    return contract.described()


def test_the_committed_description_is_what_the_code_says(document):
    assert document == openapi.generated(), "run `make openapi`"


def test_it_is_made_without_a_warning(tmp_path):
    GENERATOR_STATS.reset()
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))


def test_it_is_valid_and_a_linter_has_nothing_to_say(document):
    assert openapi.faults(document) == []


def _free(document):
    document["components"]["schemas"]["Source"]["properties"]["name"] = {}


def _without_example(document):
    del document["paths"]["/api/sources"]["get"]["responses"]["200"]["content"]["application/json"]["example"]


def _without_errors(document):
    del document["paths"]["/api/sources"]["get"]["responses"]["default"]


def _twice(document):
    document["paths"]["/api/sources"]["get"]["operationId"] = "create_source"


def _unused(document):
    document["components"]["schemas"]["Nobody"] = {"type": "string"}


def test_the_linter_sees_what_is_missing(document):
    spoiled = copy.deepcopy(document)
    for spoil in (_free, _without_example, _without_errors, _twice, _unused):
        spoil(spoiled)
    faults = openapi.faults(spoiled)  # once for all of them: it takes seconds
    for part in (
        "Source: name",
        "has no example",
        "has no answer for default",
        "two operations are called create_source",
        "components/schemas/Nobody is used nowhere",
    ):
        assert [fault for fault in faults if part in fault], (part, faults)


def test_every_api_route_and_method_is_described_with_what_it_needs(document):
    for route in DESCRIBED:
        path = "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", route.path)
        for method in route.methods:
            described = document["paths"][path][method.lower()]
            assert described["security"] == [{"token": []}]
            assert f"`{need_of(route.view, method)}`" in described["description"]


@pytest.mark.parametrize("route", DESCRIBED, ids=str)
def test_a_view_that_reads_a_body_says_what_it_takes(route):
    """PATCH and PUT always have a body; a POST that has none says so."""
    for method in {"PATCH", "PUT"} & {*route.methods}:
        assert route.takes(method)


def test_every_example_is_one_that_the_schema_takes(document):
    examples = contract.examples(document)
    assert len(examples) > 80
    for place, validator, example in examples:
        try:
            validator.validate(example)
        except ValidationError as error:
            pytest.fail(f"{place}: {error.message}")


def test_an_answer_with_an_undeclared_field_is_noticed(cast):
    answer = cast.call("owner", "GET", "/api/workspace")
    answer.content = answer.content.replace(b'{"workspace"', b'{"colour":"red","workspace"')
    with pytest.raises(AssertionError, match="colour"):
        contract.check("GET", "/api/workspace", answer)


@pytest.mark.django_db
def test_the_schema_is_for_everybody_and_names_nobody():
    answer = Client().get("/api/schema")
    assert answer.status_code == 200
    assert yaml.safe_load(answer.content)["openapi"] == "3.1.0"
