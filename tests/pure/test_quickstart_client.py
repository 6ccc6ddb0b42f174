"""The quickstart asks again when a server was just restarted, and never says anything twice."""

import httpx
import pytest

from quickstart import client
from quickstart.client import Api, ApiError


@pytest.fixture
def api(monkeypatch):
    """One that gets these answers, in turn; an exception is raised instead."""
    monkeypatch.setattr(client, "PAUSES", (0.0, 0.0))

    def answering(*answers):
        left = list(answers)

        def answer(request):
            found = left.pop(0)
            if isinstance(found, Exception):
                raise found
            status, body = found
            return httpx.Response(status, json=body)

        api = Api("http://console", "token")
        api._http = httpx.Client(base_url="http://console/api/", transport=httpx.MockTransport(answer))
        return api

    return answering


AWAY = (500, {"errors": [{"type": "internal-error", "message": "It is in the log."}]})
HERE = (200, {"data": {"size": 7}})


def test_a_question_is_asked_again_while_the_server_is_away(api):
    assert api(httpx.ReadError("gone"), AWAY, HERE).get("spaces") == {"size": 7}
    with pytest.raises(ApiError, match=r"^GET /api/spaces: 500 It is in the log\.$"):
        api(AWAY, AWAY, AWAY).get("spaces")


def test_a_change_is_sent_once(api):
    with pytest.raises(ApiError, match="500"):
        api(AWAY, HERE).post("spaces", {})


def test_what_is_wrong_is_said_with_its_field(api):
    wrong = (422, {"errors": [{"type": "validation-error", "field": "name", "message": "Too long."}]})
    with pytest.raises(ApiError, match=r"^POST /api/spaces: 422 name: Too long\.$"):
        api(wrong).post("spaces", {})


def test_a_list_is_read_to_its_last_page(api):
    first = (200, {"data": {"rows": [1, 2], "pagination": {"next": "abc"}}})
    last = (200, {"data": {"rows": [3], "pagination": {}}})
    assert list(api(first, last).all("rows", "rows")) == [1, 2, 3]
