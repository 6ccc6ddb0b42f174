"""The API describes itself: without a warning, valid, and with every route in it."""

import re

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from openapi_spec_validator import validate

from access.gate import need_of
from spaces.needs import ANYONE
from tests.routes import api_routes

UNLISTED = {"api-schema", "api-docs"}


@pytest.fixture(scope="module")
def schema():
    return SchemaGenerator().get_schema(request=None, public=True)


def test_the_schema_is_made_without_a_warning(tmp_path):
    GENERATOR_STATS.reset()
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))


def test_the_schema_is_valid_openapi(schema):
    validate(schema)


def test_every_api_route_and_method_is_described_with_what_it_needs(schema):
    for route in api_routes():
        if route.name in UNLISTED:
            continue
        path = "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", route.path)
        for method in route.methods:
            described = schema["paths"][path][method.lower()]
            need = need_of(route.view, method)
            assert described["security"] == ([] if need == ANYONE else [{"token": []}])
            assert f"`{need}`" in described["description"]


@pytest.mark.parametrize("route", [route for route in api_routes() if route.name not in UNLISTED], ids=str)
def test_a_view_that_reads_a_body_says_what_it_takes(route):
    """PATCH always has a body; a POST that has none says so by taking no serializer and reading none."""
    if "PATCH" in route.methods:
        assert route.takes("PATCH")


def test_every_operation_has_an_id_of_its_own(schema):
    ids = [operation["operationId"] for path in schema["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.django_db
def test_the_schema_is_for_everybody_and_names_nobody():
    answer = Client().get("/api/schema")
    assert answer.status_code == 200
    assert yaml.safe_load(answer.content)["openapi"] == "3.1.0"
