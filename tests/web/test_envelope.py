"""Every answer of the API is in the envelope, the unexpected ones too."""

import pytest
from django.test import Client
from drf_standardized_errors.handler import exception_handler
from rest_framework import serializers
from rest_framework.exceptions import Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from access.api.pagination import Pages, encoded
from access.api.parsers import parsed
from access.api.serializers import CreateInvites
from spaces.models import Space
from tests.factories import SpaceFactory, WorkspaceFactory
from tests.routes import UNDESCRIBED, api_routes
from tests.sample_rows import belongings

pytestmark = pytest.mark.django_db


def error_of(answer):
    body = answer.json()
    assert set(body) == {"errors"}, body
    assert body["errors"]
    for error in body["errors"]:
        assert {"type", "message"} <= set(error) <= {"type", "message", "field"}
    return body["errors"][0]["type"]


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/spaces/", "/api/spaces/x/y/z"])
def test_an_unknown_path_is_a_404_in_the_envelope(path):
    answer = Client().get(path)
    assert (answer.status_code, error_of(answer)) == (404, "not-found")


def test_no_token_is_a_401_that_says_how_to_send_one():
    answer = Client().get("/api/spaces")
    assert (answer.status_code, error_of(answer)) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer pat_wrong", "Bearer ", "Basic eDp5", "pat_wrong", "Bearer pat_\xff"])
def test_a_wrong_token_is_a_401(header):
    answer = Client().get("/api/spaces", headers={"authorization": header})
    assert (answer.status_code, error_of(answer)) == (401, "unauthorized")


def test_a_method_that_is_not_there_is_a_405(cast):
    answer = cast.call("owner", "PUT", "/api/spaces", {})
    assert (answer.status_code, error_of(answer)) == (405, "method-not-allowed")


def test_every_address_says_by_options_what_it_is(cast):
    ids = belongings(cast.space)
    for route in (route for route in api_routes() if route.path not in UNDESCRIBED):
        answer = cast.call("owner", "OPTIONS", route.url(ids))
        assert answer.status_code == 200, route
        assert {"name", "description", "renders", "parses"} == set(answer.json()), route


def test_a_body_that_is_no_json_is_a_400(cast):
    answer = Client().post("/api/spaces", "{", "application/json", headers=cast.bearer("owner"))
    assert (answer.status_code, error_of(answer)) == (400, "bad-request")


def test_a_body_of_another_type_is_a_415(cast):
    answer = Client().post("/api/spaces", "a=b", "text/plain", headers=cast.bearer("owner"))
    assert (answer.status_code, error_of(answer)) == (415, "unsupported-media-type")


@pytest.mark.parametrize("body", [[], "x", 1, None])
def test_a_body_that_is_no_object_is_a_422(cast, body):
    answer = Client().post("/api/spaces", body, "application/json", headers=cast.bearer("owner"))
    assert answer.status_code in (400, 422)
    error_of(answer)


def test_a_failure_nobody_foresaw_is_a_500_in_the_envelope(cast, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr("access.services.create_space", fail)
    client = Client(raise_request_exception=False)
    answer = client.post("/api/spaces", {"name": "a"}, "application/json", headers=cast.bearer("owner"))
    assert (answer.status_code, error_of(answer)) == (500, "internal-error")
    assert "fire" not in answer.content.decode()


def request(body=None, **query):
    made = (
        APIRequestFactory().post("/", body, format="json") if body is not None else APIRequestFactory().get("/", query)
    )
    from rest_framework.parsers import JSONParser

    return Request(made, parsers=[JSONParser()])


def refusal(serializer, body):
    """The errors of the answer to this body."""
    with pytest.raises(ValidationError) as refused:
        parsed(serializer, request(body))
    answer = exception_handler(refused.value, {})
    assert answer.status_code == 422
    return answer.data["errors"]


def test_each_wrong_field_is_named_by_its_path():
    body = {"invites": [{"email": "a@example.com"}, {"email": "no", "grants": [{"spaceId": "x", "role": "king"}]}]}
    errors = refusal(CreateInvites, body)
    assert {error["field"] for error in errors} == {"invites[1].email", "invites[1].grants[0].role"}


def test_a_misspelt_field_is_an_error_and_not_ignored():
    errors = refusal(CreateInvites, {"invites": [{"email": "a@example.com"}], "invitez": 1})
    assert errors == [{"type": "validation-error", "message": "Unknown field.", "field": "invitez"}]


def test_a_list_of_numbers_names_the_wrong_one():
    class Numbers(serializers.Serializer):
        counts = serializers.ListField(child=serializers.IntegerField())

    assert refusal(Numbers, {"counts": [1, "x"]})[0]["field"] == "counts[1]"


def test_what_is_wrong_with_the_whole_has_no_field():
    class Range(serializers.Serializer):
        def validate(self, attrs):
            raise ValidationError("The end is before the beginning.")

    class Ranges(serializers.Serializer):
        range = Range()

    assert refusal(Range, {}) == [{"type": "validation-error", "message": "The end is before the beginning."}]
    assert refusal(Ranges, {"range": {}})[0]["field"] == "range"


def test_being_asked_to_wait_says_how_long():
    answer = exception_handler(Throttled(wait=3), {})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")


def page(asked, rows, **options):
    pagination = Pages.of("rows", **options)()
    return pagination.get_paginated_response(pagination.paginate_queryset(rows, asked)).data["data"]


def pages(rows, count, **options):
    """All rows, a page at a time."""
    cursor, found = "", []
    while True:
        asked = request(**{"pagination[count]": str(count), "pagination[cursor]": cursor})
        body = page(asked, rows, **options)
        found.append(body["rows"])
        cursor = body["pagination"].get("next", "")
        if not cursor:
            return found, body["pagination"]["totalEntries"]


def test_a_sequence_comes_in_pages_without_gap_or_repeat():
    assert pages(range(7), 3) == ([[0, 1, 2], [3, 4, 5], [6]], 7)
    assert pages([], 3) == ([[]], 0)
    assert pages(range(3), 3) == ([[0, 1, 2]], 3)


@pytest.mark.parametrize("order", ["id", "-id"])
def test_a_queryset_comes_in_pages_without_gap_or_repeat(order):
    workspace = WorkspaceFactory()
    SpaceFactory.create_batch(5, workspace=workspace)
    rows = Space.objects.filter(workspace=workspace)
    found, total = pages(rows, 2, order=order)
    assert [len(page) for page in found] == [2, 2, 1]
    assert [row for page in found for row in page] == list(rows.order_by(order))
    assert total == 5


@pytest.mark.parametrize("count", ["0", "-1", "x", "1001", "", "9" * 5000, "²"])
def test_a_senseless_count_is_refused(count):
    with pytest.raises(ValidationError, match="1 to 1000"):
        page(request(**{"pagination[count]": count}), [])


@pytest.mark.parametrize("cursor", ["x", "e30=", "dHJ1ZQ==", "Ig==", "LTE=", "é"])
def test_a_senseless_cursor_is_refused(cursor):
    with pytest.raises(ValidationError, match="Not a cursor"):
        page(request(**{"pagination[cursor]": cursor}), [1])


def test_a_cursor_of_another_list_is_refused():
    text = encoded("abc")
    with pytest.raises(ValidationError, match="Not a cursor"):
        page(request(**{"pagination[cursor]": text}), Space.objects.all())
