"""Every answer of the API is in the envelope, the unexpected ones too."""

import pytest
from django.test import Client
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from access import envelope
from access.api import InvitesBody
from access.envelope import ApiError
from spaces.models import Space
from tests.factories import SpaceFactory, WorkspaceFactory

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


def test_each_wrong_field_is_named_by_its_path():
    body = {"invites": [{"email": "a@example.com"}, {"email": "no", "grants": [{"spaceId": "x", "role": "king"}]}]}
    with pytest.raises(ApiError) as refused:
        envelope.parsed(InvitesBody, request(body))
    assert refused.value.status_code == 422
    assert {error["field"] for error in refused.value.errors} == {"invites[1].email", "invites[1].grants[0].role"}


def test_a_misspelt_field_is_an_error_and_not_ignored():
    with pytest.raises(ApiError) as refused:
        envelope.parsed(InvitesBody, request({"invites": [{"email": "a@example.com"}], "invitez": 1}))
    assert refused.value.errors == [{"type": "validation-error", "message": "Unknown field.", "field": "invitez"}]


def test_a_list_of_numbers_names_the_wrong_one():
    class Numbers(serializers.Serializer):
        counts = serializers.ListField(child=serializers.IntegerField())

    with pytest.raises(ApiError) as refused:
        envelope.parsed(Numbers, request({"counts": [1, "x"]}))
    assert refused.value.errors[0]["field"] == "counts[1]"


def test_being_asked_to_wait_says_how_long():
    answer = envelope.handle(Throttled(wait=3), {})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")


def pages(rows, count, **options):
    """All rows, a page at a time."""
    cursor, found = "", []
    while True:
        asked = request(**{"pagination[count]": str(count), "pagination[cursor]": cursor})
        body = envelope.page(asked, rows, name="rows", render=lambda row: row, **options).data["data"]
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
    with pytest.raises(ApiError, match="1 to 1000"):
        envelope.page(request(**{"pagination[count]": count}), [], name="rows", render=str)


@pytest.mark.parametrize("cursor", ["x", "e30=", "dHJ1ZQ==", "Ig==", "LTE=", "é"])
def test_a_senseless_cursor_is_refused(cursor):
    with pytest.raises(ApiError, match="Not a cursor"):
        envelope.page(request(**{"pagination[cursor]": cursor}), [1], name="rows", render=str)


def test_a_cursor_of_another_list_is_refused():
    text = envelope._encode("abc")
    with pytest.raises(ApiError, match="Not a cursor"):
        envelope.page(request(**{"pagination[cursor]": text}), Space.objects.all(), name="rows", render=str)
