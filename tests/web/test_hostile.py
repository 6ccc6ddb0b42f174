"""Whatever is sent to an address, the fault is the sender's: 4xx, in the shape that the address speaks, never a 500."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from django.conf import settings
from django.core.signals import request_started
from django.db import close_old_connections
from django.http import HttpRequest, QueryDict
from django.test import Client
from rest_framework import serializers
from rest_framework.exceptions import ParseError

from access.api.parsers import DEEPEST, Json
from personas_site.bodies import LARGEST, Body, BodyRoom
from personas_site.front import environ_of
from personas_site.requests import Handler
from spaces.models import Space
from tests.asgi import chunks, scope_of
from tests.cast import Cast
from tests.factories import WriteKeyFactory
from tests.loops import run
from tests.routes import PROFILE_API, api_routes, example, pages, routes
from tests.sample_rows import belongings, body_ids

pytestmark = pytest.mark.django_db

HOSTILE: tuple[Any, ...] = (
    "\0",
    "a\0b",
    "\ud800",
    "x" * 100_000,
    "<script>alert(1)</script>\r\nSet-Cookie: a=b",
    "../../etc/passwd",
    "\u202e" * 300,
    10**30,
    -(10**30),
    1e308,
    None,
    True,
    [],
    {},
    [[]],
    {"\0": "\0"},
    ["\0"],
    {"a": {"b": "\0"}},
)
QUERIES = (
    "q=%00",
    "q=a%00b",
    "kind=%00",
    "after=%00",
    "outcome=%00",
    "next=%00",
    "q=%ff%fe",
    "q=" + "x" * 5000,
    "q=use_%27%3B--",
    "after=-1",
    "after=" + "9" * 400,
    "after=%C2%B2",
    "pagination[cursor]=%00",
    "pagination[cursor]=!!!",
    "pagination[cursor]=" + "W1tb" * 900,  # [[[[…
    "pagination[cursor]=MTAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=",  # 10**29
    "pagination[cursor]=LTE=",  # -1
    "pagination[cursor]=Ilx1MDAwMCI=",  # "\0", escaped
    "pagination[cursor]=Ilx1ZDgwMCI=",  # half of a surrogate pair
    "pagination[cursor]=bnVsbA==",
    "pagination[cursor]=MS41",
    "pagination[count]=%00",
    "pagination[count]=-1",
    "pagination[count]=%C2%B2",
)


def quiet() -> Client:
    """A failure of ours is a 500 here, not an exception, so that one test can name all of them."""
    return Client(raise_request_exception=False)


def send(cast: Cast, method: str, url: str, body: Any) -> int:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    headers = cast.bearer("owner")
    answer = quiet().generic(method, url, data=text, content_type="application/json", headers=headers)
    if answer.status_code >= 400:
        assert set(answer.json()) == {"errors"}
    return answer.status_code


def places(fields: serializers.Serializer[Any], body: dict[str, Any]) -> Iterator[tuple[list[Any], Any]]:
    """Each field of a serializer, those of its inner ones too: the path in the body, and the field."""
    for name, field in fields.fields.items():
        yield [name], field
        inner = field.child if isinstance(field, serializers.ListSerializer) else field
        if isinstance(inner, serializers.Serializer):
            step = [name, 0] if isinstance(field, serializers.ListSerializer) else [name]
            for path, found in places(inner, body):
                yield [*step, *path], found


def longest(field: Any) -> tuple[str, ...]:
    """The longest text that the field says it takes: the column behind it must take it, too."""
    most = getattr(field, "max_length", None) if isinstance(field, serializers.CharField) else None
    if not most:
        return ()
    email = "a" * 60 + "@" + ".".join(["b" * 60] * 4)
    return (email[: most - 8] + ".example",) if isinstance(field, serializers.EmailField) else ("x" * most,)


def planted(body: dict[str, Any], path: list[Any], value: Any) -> dict[str, Any]:
    copy: Any = json.loads(json.dumps(body))
    at = copy
    for step in path[:-1]:
        at = at[step] if isinstance(at, list) else at.setdefault(step, {})
    at[path[-1]] = value
    return dict(copy)


def cannot_be_kept(value: Any) -> bool:
    """It holds a NUL or half of a surrogate pair, which no store takes."""
    return "\\u0000" in json.dumps(value) or "\\ud800" in json.dumps(value)


def test_no_value_in_any_field_of_any_body_breaks_the_api(cast):
    """Whatever gets past the parser and the serializer is sent for real, and of what does not, one value of each."""
    ids = belongings(cast.space)
    tried, sent, broken = 0, 0, []
    for route in api_routes():
        for method in route.methods:
            if not (takes := route.takes(method)):
                continue
            good = example(takes(), body_ids(ids))
            for path, field in places(takes(), good):
                refused_before: set[str] = set()
                for value in (*HOSTILE, *longest(field)):
                    tried += 1
                    body = planted(good, path, value)
                    if cannot_be_kept(value):
                        with pytest.raises(ParseError):
                            parse(body)
                        refuses = "parser"
                    else:
                        refuses = "" if takes(data=body).is_valid() else "serializer"
                    if refuses in refused_before:
                        continue
                    sent += 1
                    status = send(cast, method, route.url(ids), body)
                    if status >= 500 or (refuses and status < 400) or (refuses == "parser" and status != 400):
                        broken.append((method, route.path, path, repr(value)[:40], refuses, status))
                    refused_before |= {refuses} - {""}
    assert tried > 200
    assert sent > tried / 10
    assert broken == []


def parse(body: dict[str, Any]) -> Any:
    """As the API reads it from a request. Raises ParseError."""
    return Json().parse(BytesIO(json.dumps(body).encode()), parser_context={"request": HttpRequest()})


BODIES = (
    "[" * 100_000,
    '{"name":' * 5_000 + "1" + "}" * 5_000,
    '{"name": NaN}',
    '{"name": 1e999}',
    '{"name": ' + "9" * 5000 + "}",
    b"\xff\xfe{}",
    b'{"name": "\xff"}',
    "null",
    "[]",
    '"text"',
    "\0",
    "",
)


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_no_body_breaks_any_route(cast, body):
    ids = belongings(cast.space)
    broken = [
        (method, route.path)
        for route in api_routes()
        for method in set(route.methods) & {"POST", "PATCH", "PUT"}
        if send(cast, method, route.url(ids), body) >= 500
    ]
    assert broken == []


def test_a_body_may_be_deep_but_not_deeper(cast):
    def nested(levels: int) -> str:
        return '{"name": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"

    assert send(cast, "POST", "/api/spaces", nested(DEEPEST + 1)) == 422
    assert send(cast, "POST", "/api/spaces", nested(DEEPEST + 2)) == 400


class WordsRead:
    """Which words of a query are looked at, whether they are there or not. all: it walked over whatever there is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words: set[str] = set()
        self.all = False
        for method in ("__getitem__", "__contains__", "getlist", "__iter__", "lists", "items", "keys"):
            monkeypatch.setattr(QueryDict, method, self._noting(getattr(QueryDict, method)))

    def _noting(self, look: Any) -> Any:
        def looked(query: QueryDict, *words: Any) -> Any:
            self.words.update(words[:1])
            self.all = self.all or not words
            return look(query, *words)

        return looked

    def during(self, ask: Callable[[], object]) -> set[str]:
        """Those of `QUERIES` that are looked at while this is asked."""
        self.words, self.all = set(), False
        ask()
        return set(WORDS) if self.all else self.words & set(WORDS)


WORDS = sorted({query.partition("=")[0] for query in QUERIES})


def test_no_query_breaks_any_route_or_page(cast, monkeypatch):
    """Each is asked with what it looks at; a NUL is refused wherever it is, before anybody looks."""
    ids = belongings(cast.space) | {"secret": "x", "route": "batch"}
    browser, bearer, reads = cast.browser("owner"), cast.bearer("owner"), WordsRead(monkeypatch)
    browser.raise_request_exception = False
    broken, tried = [], Counter()
    for route in routes():
        if not route.name or route.name in PROFILE_API or "GET" not in route.methods:
            continue
        client, headers = (quiet(), bearer) if route.is_api else (browser, {})
        url = route.url(ids)
        read = reads.during(lambda client=client, url=url, headers=headers: client.get(url, headers=headers))
        for query in QUERIES:
            word = query.partition("=")[0]
            if word not in read and "%00" not in query:
                continue
            tried[word] += 1
            status = client.get(f"{url}?{query}", headers=headers).status_code
            if status >= 500 or ("%00" in query and not 400 <= status < 500):
                broken.append((route.name, query, status))
    assert min(tried[word] for word in WORDS) > 3, tried
    assert broken == []


@pytest.mark.parametrize("word", ["%00", "a%00b", "%ff", "x" * 3000, "%0d%0aX: y", "..%2f..", "%27%22%3C"])
def test_no_word_in_an_address_breaks_any_route_or_page(cast, word):
    ids = belongings(cast.space) | {"secret": "x", "route": "batch"}
    browser, bearer = cast.browser("owner"), cast.bearer("owner")
    browser.raise_request_exception = False
    broken, tried = [], 0
    for route in (route for route in routes() if route.name and route.name not in PROFILE_API):
        for name in set(route.kwargs) - {"route"}:
            tried += 1
            url = route.url(ids | {name: "zzz"}).replace("zzz", word)
            client, headers = (quiet(), bearer) if route.is_api else (browser, {})
            status = client.get(url, headers=headers).status_code
            if status not in (400, 404, 405, 410):
                broken.append((url[:80], status))
    assert tried > 20
    assert broken == []


def test_no_form_of_a_page_breaks_on_a_nul(cast):
    """Every page that takes a POST, with a NUL in every field, hidden ones and those of no form included."""
    usual = ("username", "password", "name", "next", "theme", "csrfmiddlewaretoken")
    ids = belongings(cast.space) | {"secret": "x", "route": "batch"}
    for route in pages():
        if not route.name or route.name == "collect":
            continue
        for who in ("nobody", "owner"):
            browser = cast.browser(who)
            browser.raise_request_exception = False
            page = b"".join(browser.get(route.url(ids))).decode(errors="replace")
            own = set(re.findall(r'<(?:input|select|textarea|button)\b[^>]* name="([^"]+)"', page))
            # All at once, and each alone: what is wrong with the first field keeps others from being read.
            for fields in (usual, *([name] for name in own)):
                for value in ("\0", "a\0b", "/\0", "/a\0b") if fields is usual else ("a\0b",):
                    status = browser.post(route.url(ids), dict.fromkeys(fields, value)).status_code
                    assert status < 500, (route.name, who, fields, status)


@pytest.mark.parametrize("cookie", ['"\\000aaaaaaaaaa"', "x" * 4000, '"\\377\\376aaaaaaaa"'])
@pytest.mark.parametrize("name", ["sessionid", "csrftoken", "theme", "messages"])
def test_no_cookie_breaks_a_page(name, cookie):
    for path in ("/", "/sign-in", "/livez", "/api/workspace"):
        assert quiet().get(path, headers={"cookie": f"{name}={cookie}"}).status_code < 500, path


@pytest.mark.parametrize("path", ["/api/workspace", "/api/nothing"])
def test_a_host_that_is_not_ours_is_told_so_in_the_envelope(path):
    answer = Client().get(path, headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["type"] == "bad-request"
    assert "PERSONAS_HOSTS" in answer.json()["errors"][0]["message"]


def test_a_host_that_is_not_ours_gets_a_page_elsewhere():
    answer = Client().get("/sign-in", headers={"host": "evil.example"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "text/html; charset=utf-8")
    assert "This did not work" in answer.content.decode()


def test_an_unknown_call_of_the_tracking_api_is_a_404_that_a_browser_can_read():
    answer = Client().post("/v1/nothing", headers={"origin": "https://shop.example"})
    assert answer.status_code == 404
    assert answer.json() == {"success": False, "code": "not_found", "message": "There is no such call."}
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"


def chunked(path: str, size: int, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """What the web process answers to a chunked body of this size."""
    return asked("POST", path, b" " * size, **{"content-type": "application/json"} | headers)


def asked(method: str, path: str, sent: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """What the web process answers to a request with this body, in chunks."""
    said: dict[str, Any] = {}
    request_started.disconnect(close_old_connections)  # the test is inside a transaction

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
        said["status"], said["headers"] = int(status.split()[0]), dict(headers)

    body = Body(BodyRoom())
    run(body.read(chunks(sent)))
    scope = scope_of(method, path, {"host": "127.0.0.1", "transfer-encoding": "chunked"} | headers)
    try:
        answer = b"".join(Handler()(environ_of(scope, body), start_response))
    finally:
        request_started.connect(close_old_connections)
    return said["status"], said["headers"], answer


def test_a_chunked_body_that_is_too_large_is_refused_as_collect_refuses():
    status, headers, body = chunked("/v1/batch", LARGEST + 1, origin="https://shop.example")
    assert status == 413
    assert headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert json.loads(body)["code"] == "body_too_large"


def test_a_chunked_body_that_is_too_large_is_refused_in_the_envelope(cast):
    token = cast.bearer("owner")["authorization"]
    status, _, body = chunked("/api/spaces", LARGEST + 1, authorization=token)
    assert status == 413
    assert json.loads(body)["errors"][0]["type"] == "too-large"
    assert chunked("/api/spaces", LARGEST, authorization=token)[0] == 400  # read, and no JSON
    assert Space.objects.filter(workspace=cast.workspace).count() == 1


def test_a_chunked_body_that_is_too_large_is_refused_by_a_page():
    status, headers, _ = chunked("/sign-in", LARGEST + 1, **{"content-type": "application/x-www-form-urlencoded"})
    assert status in (403, 413)  # 403: a form from nowhere is not even read
    assert headers["Content-Type"] == "text/html; charset=utf-8"


def test_the_limit_of_the_web_process_is_that_of_the_settings():
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE == LARGEST


@pytest.mark.parametrize("charset", ["hex", "rot13", "undefined", "idna", "utf-16", "unicode_escape", "nobody-knows"])
def test_no_charset_breaks_an_address_or_changes_what_it_says(charset):
    query, type = f"writeKey={WriteKeyFactory().key}", f"application/json; charset={charset}"
    for method, path, status in (("GET", "/livez", 200), ("GET", "/nothing", 404), ("POST", "/v1/batch", 200)):
        answer = asked(method, f"{path}?{query}", b'{"batch":[]}', **{"content-type": type})
        assert answer[0] == status, (path, answer)
