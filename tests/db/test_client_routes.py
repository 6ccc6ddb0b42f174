"""What client libraries ask for beside `/v1/batch`, and what the owner of a write key hears of refused requests."""

import base64
import gzip
import json
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from sources import collect, inbox, scripts
from sources.collect import LARGEST_BODY, is_collect
from sources.models import Inbox, RefusedRequest
from tests.cast import make_cast
from tests.factories import WriteKeyFactory
from tests.factories_sources import batch, track

pytestmark = pytest.mark.django_db
ELSEWHERE = "track.elsewhere.example"  # a name that no setting knows


@pytest.fixture(autouse=True)
def no_known_keys() -> None:
    collect.forget_write_keys()


@pytest.fixture
def key() -> str:
    return str(WriteKeyFactory().key)


def sent() -> list[tuple[str, Any]]:
    return [(row.call, json.loads(bytes(row.body))) for row in Inbox.objects.order_by("pk")]


def refused() -> list[tuple[str, str, int, int]]:
    return [(row.code, row.path, row.status, row.requests) for row in RefusedRequest.objects.order_by("pk")]


class TestBeforeTheyStart:
    def test_analytics_js_hears_where_to_send(self, client, key):
        answer = client.get(
            f"/v1/projects/{key}/settings", headers={"host": ELSEWHERE, "origin": "https://shop.example"}
        )
        assert answer["Access-Control-Allow-Origin"] == "https://shop.example"
        said = answer.json()
        assert said["integrations"]["Segment.io"]["apiHost"] == f"{ELSEWHERE}/v1"
        assert said["integrations"]["Segment.io"]["apiKey"] == key
        assert "deliveryStrategy" not in said["integrations"]["Segment.io"]
        secure = client.get(f"/v1/projects/{key}/settings", secure=True).json()["integrations"]["Segment.io"]
        assert (secure["protocol"], secure["deliveryStrategy"]["strategy"]) == ("https", "batching")
        assert said["metrics"] == {"sampleRate": 0}  # or its telemetry goes to the vendor

    def test_rudderstack_hears_of_its_source(self, client, key):
        basic = {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}
        for said in (client.get(f"/sourceConfig/?writeKey={key}"), client.get("/sourceConfig", headers=basic)):
            source = said.json()["source"]
            assert {"id", "enabled", "writeKey", "workspaceId", "config", "destinations"} <= set(source)
            assert source["writeKey"] == key

    @pytest.mark.parametrize(
        "path", ["/v1/projects/no-key/settings", "/sourceConfig/?writeKey=no-key", "/sourceConfig/"]
    )
    def test_an_unknown_key_is_401(self, client, path):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_write_key")

    def test_scripts_are_those_that_were_installed(self, client, key, settings, tmp_path):
        settings.CLIENT_SCRIPTS = tmp_path
        paths = [f"/analytics.js/v1/{key}/analytics.min.js", "/analytics-next/bundles/part.bundle.1a.js", "/p.js"]
        for path in paths:
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_installed")
            assert "make assets" in answer.json()["message"]
        for script in (scripts.ANALYTICS_JS, scripts.bundle("part.bundle.1a.js"), scripts.JITSU):
            (tmp_path / script).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / script).write_text("load('__WRITE_KEY__')")
        for path, text in zip(paths, (f"load('{key}')", "load('')", "load('')"), strict=True):
            answer = client.get(path)
            assert answer.content.decode() == text
            assert answer["Content-Type"].startswith("text/javascript")
            assert "max-age" in answer["Cache-Control"]

    @pytest.mark.parametrize("name", ["..%2f..%2fsettings.js", "../secret.js", "a/b.js", "..js"])
    def test_nothing_but_scripts_is_served_there(self, client, name):
        assert client.get(f"/analytics-next/bundles/{name}").json()["code"] == "not_found"


class TestWhereTheySend:
    @pytest.mark.parametrize("path", ["/beacon/v1/batch", "/beacon/v1/batch/"])
    def test_a_beacon_of_rudderstack(self, client, key, path):
        answer = client.post(f"{path}?writeKey={key}", batch(track()), content_type="text/plain;charset=UTF-8")
        assert answer.status_code == 200
        assert sent()[0][0] == "batch"

    @pytest.mark.parametrize("path", ["/api/s/track", "/api/s/s2s/track/"])
    def test_a_call_of_jitsu_with_a_masked_key_in_its_body(self, client, key, path):
        body = json.dumps({**track(), "writeKey": f"{key[:4]}:***"})
        answer = client.post(path, body, content_type="application/json", headers={"x-write-key": f"{key}:secret"})
        assert answer.status_code == 200
        assert sent()[0][0] == "track"

    def test_telemetry_is_answered_and_forgotten(self, client):
        assert client.post("/v1/m", b'{"series": []}', content_type="text/plain").json() == {"success": True}
        assert sent() == []

    @pytest.mark.parametrize("encode", [quote, lambda text: base64.b64encode(text.encode()).decode().rstrip("=")])
    def test_a_pixel(self, client, key, encode):
        said = {"userId": "ü1>>?", "event": "Opened", "writeKey": key}
        answer = client.get(f"/v1/pixel/track?data={encode(json.dumps(said))}")
        assert (answer.status_code, answer["Content-Type"]) == (200, "image/gif")
        assert answer.content.startswith(b"GIF89a")
        assert sent() == [("track", said)]

    @pytest.mark.parametrize("data", ["", "%7B", "!!!", "e30", "%C3%BC"])
    def test_a_pixel_that_says_nothing_is_an_image_too(self, client, key, data):
        answer = client.get(f"/v1/pixel/page?data={data}&writeKey={key}")
        assert (answer.status_code, answer["Content-Type"]) == (200, "image/gif")

    def test_the_host_is_no_matter_there_and_one_of_ours_elsewhere(self, client, key):
        headers = {"host": ELSEWHERE}
        body = batch(track())
        assert client.post(f"/v1/batch?writeKey={key}", body, content_type="", headers=headers).status_code == 200
        assert client.get("/sign-in", headers=headers).status_code == 400

    def test_a_page_may_send_with_cookies_which_nobody_reads(self, key):
        shop = {"origin": "https://shop.example", "cookie": "sessionid=stale-and-long"}
        answer = Client(enforce_csrf_checks=True).post(
            f"/v1/track?writeKey={key}", json.dumps(track()), content_type="application/json", headers=shop
        )
        assert answer.status_code == 200
        assert answer["Access-Control-Allow-Origin"] == "https://shop.example"
        assert answer["Access-Control-Allow-Credentials"] == "true"
        assert not answer.cookies

    @pytest.mark.parametrize(
        "path",
        [
            *(
                "/v1",
                "/v1/",
                "/v1/nothing",
                "/v1/batch/more",
                "/v1/batch//",
                "/v1/projects/x/other",
                "/beacon/v1/other",
            ),
            *(
                "/api/s/",
                "/api/s/unknown",
                "/analytics.js/v2/x",
                "/analytics-next/other",
                "/sourceConfig/more",
                "/p.js/",
            ),
        ],
    )
    def test_nothing_there_is_a_page_or_of_the_api(self, client, path):
        for answer in (client.get(path), client.post(path, b"{}", content_type="application/json")):
            assert answer.status_code == 404
            assert answer.json() == {"success": False, "code": "not_found", "message": "There is no such call."}

    def test_what_only_begins_alike_is_ours(self):
        assert not any(map(is_collect, ["/v10", "/api/sources", "/api/spaces/s", "/p.jsx", "/sourceConfigs", "/"]))


class TestRefusedRequests:
    def test_are_counted_by_reason_and_address_where_the_owner_of_the_key_sees_them(self, client, key):
        for _ in range(2):
            client.post(f"/v1/batch?writeKey={key}", b"{", content_type="application/json")
        client.post(f"/v1/track?writeKey={key}", b"x" * (LARGEST_BODY + 1), content_type="application/json")
        client.post("/v1/trakc", json.dumps({"writeKey": key}), content_type="text/plain")
        client.get("/v1/track", headers={"x-write-key": key})
        assert refused() == [
            ("invalid_json", "/v1/batch", 400, 2),
            ("body_too_large", "/v1/track", 413, 1),
            ("not_found", "/v1/trakc", 404, 1),
            ("method_not_allowed", "/v1/track", 405, 1),
        ]

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_are_known_by_a_key_in_a_body_that_cannot_be_read(self, client, key, pack):
        body = pack(b'{"batch": [{"writeKey": "strange"}, "writeKey": "%s", "sentAt": ' % key.encode())
        assert client.post("/v1/batch", body, content_type="application/json").status_code == 400
        assert refused() == [("invalid_json", "/v1/batch", 400, 1)]

    def test_of_nobody_are_not_kept(self, client):
        client.post("/v1/batch?writeKey=unknown", b"{", content_type="application/json")
        client.post("/v1/batch", b'{"writeKey": "unknown"', content_type="application/json")
        assert refused() == []

    def test_are_bounded_however_many_addresses_there_are(self, client, key, monkeypatch):
        monkeypatch.setattr(inbox, "MOST_REFUSED", 3)
        for number in range(6):
            client.post(f"/v1/{number}?writeKey={key}", b"{}", content_type="application/json")
        client.post(f"/v1/0?writeKey={key}", b"{}", content_type="application/json")
        assert [(code, count) for code, _, _, count in refused()] == [
            *(("not_found", 2), ("not_found", 1), ("not_found", 1), ("others", 3))
        ]

    def test_are_on_the_page_of_rejects_and_in_the_api_of_their_workspace_alone(self, client):
        cast = make_cast()
        key = WriteKeyFactory(source__workspace=cast.space.workspace)
        client.post(f"/v1/typo?writeKey={key.key}", b"{}", content_type="application/json")
        page = f"/w/{cast.space.workspace.slug}/sources/{key.source.public_id}/debugger?show=rejected"
        assert "/v1/typo" in cast.browser("owner").get(page).content.decode()
        (row,) = cast.call("owner", "get", f"/api/sources/{key.source.public_id}/refused-requests").json()["data"][
            "requests"
        ]
        assert (row["code"], row["path"], row["requests"]) == ("not_found", "/v1/typo", 1)
        assert cast.call("stranger", "get", f"/api/sources/{key.source.public_id}/refused-requests").status_code == 404
