"""The front of the web process: who is slow, silent or too many costs the others nothing."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.http import HttpResponse
from django.urls import URLResolver

from personas_site import bodies, front, lanes, sharing
from personas_site.bodies import LARGEST, LARGEST_READ, Body, BodyRoom, NoRoom, TooSlow
from personas_site.front import Front, environ_of, lane_of
from personas_site.lanes import THREADS, Busy, Lane
from personas_site.requests import Handler
from spaces.lanes import CALLS, COLLECT, CONSOLE, PASSWORDS, PROFILES, QUERIES
from tests.asgi import chunks, scope_of
from tests.loops import run
from tests.routes import routes

pytestmark = pytest.mark.usefixtures("stores")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Reply = tuple[int, dict[str, str], bytes]
ORIGIN = {"origin": "https://shop.example"}


def trickle(part: bytes, every_s: float) -> Receive:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(every_s)
        return {"type": "http.request", "body": part, "more_body": True}

    return receive


def read(receive: Receive, room: BodyRoom | None = None) -> Body:
    body = Body(room or BodyRoom())
    run(body.read(receive))
    return body


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "GRACE_S", 0.2)
    monkeypatch.setattr(bodies, "WITHIN_S", 1.0)


class TestBodies:
    @pytest.mark.parametrize("sent", [b"", b"x" * 5])
    def test_that_never_end_are_given_up(self, hasty: None, sent: bytes) -> None:
        begun = time.monotonic()
        with pytest.raises(TooSlow):
            read(trickle(sent, 3600 if not sent else 0.05))
        assert time.monotonic() - begun < 5

    def test_that_are_steady_may_take_longer_than_the_grace_and_not_for_ever(self, hasty: None) -> None:
        begun = time.monotonic()
        with pytest.raises(TooSlow):
            read(trickle(b"x" * 8192, 0.02))
        assert time.monotonic() - begun >= 1.0

    def test_that_are_whole_are_there(self) -> None:
        body = read(chunks(b"abc" * 100_000))
        assert (body.file().read(), body.length) == (b"abc" * 100_000, 300_000)

    def test_that_are_too_large_are_counted_and_of_them_the_ends_are_kept_where_a_write_key_may_be(self) -> None:
        room = BodyRoom()
        sent = b"first" + b"x" * LARGEST + b"last"
        body = read(chunks(sent), room)
        assert (body.length, room.free) == (len(sent), bodies.ROOM)
        kept = body.file().read()
        assert len(kept) <= 2 * bodies.ENDS
        assert kept.startswith(b"first")
        assert kept.endswith(b"last")

    def test_are_not_read_for_ever(self) -> None:
        assert read(trickle(b"x" * (LARGEST_READ // 4), 0)).length <= 2 * LARGEST_READ

    def test_are_refused_when_there_is_no_room_and_leave_none_taken(self) -> None:
        room = BodyRoom(100)
        first = read(chunks(b"x" * 60), room)
        receive = chunks(b"x" * 60, 7)
        second = Body(room)
        with pytest.raises(NoRoom):
            run(second.read(receive))
        assert room.free == 40
        with pytest.raises(IndexError):  # it was read to its end: a client that is cut off hears no answer
            run(receive())  # type: ignore[arg-type]
        first.drop()
        second.drop()
        assert room.free == 100


class TestLanes:
    def test_run_so_many_at_once_and_no_more(self) -> None:
        running, most = [0], [0]
        lock = threading.Lock()

        def call() -> None:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.02)
            with lock:
                running[0] -= 1

        async def all_at_once() -> None:
            lane = Lane("x", 3)
            await asyncio.gather(*(lane.run(call) for _ in range(30)))

        run(all_at_once())
        assert most == [3]

    def test_tell_whoever_would_wait_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lanes, "PATIENCE_S", 0.1)
        called = []

        async def wait() -> list[Any]:
            lane, end = Lane("x", 1), threading.Event()
            held = [asyncio.create_task(lane.run(lambda: called.append(end.wait(30)))) for _ in range(1 + lanes.AHEAD)]
            await asyncio.sleep(0)
            asked = [lane.run(lambda: called.append("late")) for _ in range(3)]
            late = await asyncio.gather(*asked, return_exceptions=True)
            end.set()
            await asyncio.gather(*held)
            return late

        assert [type(each) for each in run(wait())] == [Busy] * 3
        assert "late" not in called

    def test_refuse_at_once_who_would_wait_too_long_and_only_those(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lanes, "PATIENCE_S", 2.0)

        async def wait() -> None:
            lane = Lane("x", 1)

            async def ask() -> float:
                """How long until it was refused; 0 for what was done."""
                begun = time.monotonic()
                try:
                    await lane.run(lambda: time.sleep(0.05))
                except Busy:
                    return time.monotonic() - begun
                return 0.0

            learnt = await asyncio.gather(*(ask() for _ in range(35)))
            assert not any(learnt)
            took = await asyncio.gather(*(ask() for _ in range(400)))
            done = took.count(0.0)
            assert 5 <= done <= 60
            assert sum(0 < each < 0.5 for each in took) > 300
            assert await ask() == 0  # an old pace keeps nobody out

        run(wait())

    def test_are_taken_until_the_thread_is_free_even_when_nobody_waits_for_it(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(lanes, "PATIENCE_S", 0.1)

        async def wait() -> None:
            lane, end = Lane("x", 1), threading.Event()
            gone = [asyncio.create_task(lane.run(lambda: end.wait(30))) for _ in range(1 + lanes.AHEAD)]
            await asyncio.sleep(0.05)
            for task in gone:
                task.cancel()
            with pytest.raises(Busy):
                await lane.run(lambda: None)
            end.set()
            await lane.run(lambda: None)

        run(wait())

    @pytest.mark.parametrize("short", [True, False])
    def test_leave_a_share_to_others_while_the_processor_is_short(self, monkeypatch: Any, short: bool) -> None:
        monkeypatch.setattr(lanes.processor, "short", lambda: short)
        monkeypatch.setattr(sharing, "SHARE", 0.5)

        async def wait() -> float:
            lane = Lane("x", 3)
            for workspace in ("calm", *["flood"] * 20):  # what its requests cost is learnt
                await lane.run(lambda: time.sleep(0.01), workspace)
            begun = time.monotonic()
            for _ in range(20):
                await lane.run(lambda: time.sleep(0.01), "flood")
            return time.monotonic() - begun

        assert (run(wait()) > 0.32) is short

    def test_hand_on_what_is_raised(self) -> None:
        async def fail() -> None:
            await Lane("x", 1).run(lambda: 1 // 0)

        with pytest.raises(ZeroDivisionError):
            run(fail())


class Site:
    """Front around a small application: `/wait` waits, in the lane named by the query; the rest answers at once."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.answers: list[tuple[int, dict[str, str], bytes]] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> HttpResponse:
        if environ["PATH_INFO"] == "/wait":
            self.end.wait(30)
        answer = HttpResponse(b"x" * int(environ["QUERY_STRING"].partition("&")[2] or 2))
        start_response("200 OK", list(answer.items()))
        return answer

    def run(self, then: Callable[["Site"], Awaitable[None]]) -> None:
        async def inside() -> None:
            self.front = Front(self, lambda scope: scope["query_string"].decode().partition("&")[0] or CONSOLE)
            try:
                await then(self)
            finally:
                self.end.set()

        run(inside())

    async def ask(self, method: str, path: str, receive: Receive | None = None, **headers: str) -> Reply:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.front(scope_of(method, path, headers), receive or chunks(b""), send)
        head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], head, b"".join(message["body"] for message in sent[1:])


def test_one_lane_that_is_full_is_not_the_others_business() -> None:
    async def then(site: Site) -> None:
        waiting = [asyncio.create_task(site.ask("GET", f"/wait?{CALLS}")) for _ in range(40)]
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        for lane in set(THREADS) - {CALLS}:
            assert (await site.ask("GET", f"/at-once?{lane}"))[0] == 200
        assert (await site.ask("GET", "/livez"))[0] == 200
        assert time.monotonic() - begun < 1
        taken = THREADS[CALLS] + lanes.AHEAD
        while sum(not task.done() for task in waiting) > taken:
            undone = [task for task in waiting if not task.done()]
            refused, _ = await asyncio.wait(undone, timeout=30, return_when="FIRST_COMPLETED")
            assert {task.result()[0] for task in refused} == {503}
        assert sum(not task.done() for task in waiting) == taken
        site.end.set()
        await asyncio.gather(*waiting)

    Site().run(then)


def test_livez_answers_when_no_lane_does() -> None:
    async def then(site: Site) -> None:
        waiting = [asyncio.create_task(site.ask("GET", f"/wait?{lane}")) for lane in THREADS for _ in range(20)]
        await asyncio.sleep(0.1)
        begun = time.monotonic()
        assert (await site.ask("GET", "/livez"))[::2] == (200, b"ok")
        assert time.monotonic() - begun < 1
        site.end.set()
        await asyncio.gather(*waiting)

    Site().run(then)


def test_bodies_that_do_not_end_take_no_thread(hasty: None) -> None:
    async def then(site: Site) -> None:
        never = [asyncio.create_task(site.ask("POST", f"/x?{COLLECT}", trickle(b"", 3600))) for _ in range(64)]
        await asyncio.sleep(0)
        assert (await site.ask("POST", f"/x?{COLLECT}", chunks(b"{}")))[0] == 200
        assert {(await each)[0] for each in never} == {408}

    Site().run(then)


def test_whoever_is_slow_to_take_the_answer_keeps_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "TAKEN_WITHIN_S", 0.3)

    async def then(site: Site) -> None:
        async def stuck(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await asyncio.sleep(3600)

        scope = scope_of("GET", f"/x?{QUERIES}&{3 << 20}")
        slow = [asyncio.create_task(site.front(scope, chunks(b""), stuck)) for _ in range(10)]
        await asyncio.sleep(0.1)
        assert (await site.ask("GET", f"/x?{QUERIES}"))[0] == 200
        ends = await asyncio.gather(*slow, return_exceptions=True)
        assert {type(end) for end in ends} == {TimeoutError}  # the server then closes the connection

    Site().run(then)


def test_a_large_answer_arrives_whole() -> None:
    async def then(site: Site) -> None:
        for size in (0, 1, front.ANSWER_PART, 2 * front.ANSWER_PART, 3 * front.ANSWER_IN_MEMORY + 1):
            assert len((await site.ask("GET", f"/x?{CONSOLE}&{size}"))[2]) == size

    Site().run(then)


class TestRefusals:
    @pytest.fixture
    def busy(self, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
        settings.ALLOWED_HOSTS = ["testserver"]

        async def run(lane: Lane, call: Callable[[], Any], workspace: Any) -> Any:
            raise Busy

        monkeypatch.setattr(Lane, "run", run)

    def said(self, path: str, receive: Receive | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
        answers = []

        async def then(site: Site) -> None:
            answers.append(await site.ask("POST", path, receive, **headers))

        Site().run(then)
        (status, head, body) = answers[0]
        return status, head, body.decode()

    def test_speak_as_collect_speaks(self, busy: None) -> None:
        status, headers, body = self.said("/v1/batch", **ORIGIN)
        assert (status, json.loads(body)["code"], json.loads(body)["success"]) == (503, "unavailable", False)
        assert headers["retry-after"] == "5"
        assert headers["access-control-allow-origin"] == ORIGIN["origin"]
        assert headers["access-control-expose-headers"] == "Retry-After"

    def test_speak_in_the_envelope(self, busy: None) -> None:
        status, headers, body = self.said("/api/spaces")
        assert (status, headers["retry-after"]) == (503, "5")
        assert json.loads(body)["errors"][0]["type"] == "unavailable"

    def test_are_pages_elsewhere(self, busy: None) -> None:
        status, headers, body = self.said("/sign-in")
        assert (status, headers["retry-after"], headers["cache-control"]) == (503, "5", "no-store")
        assert "content-security-policy" in headers
        assert "<h1>Not now</h1>" in body

    def test_of_slow_bodies_are_408(self, hasty: None) -> None:
        status, headers, body = self.said("/v1/batch", trickle(b"", 3600), **ORIGIN)
        assert (status, json.loads(body)["code"]) == (408, "too_slow")
        assert headers["access-control-allow-origin"] == ORIGIN["origin"]
        assert self.said("/api/spaces", trickle(b"", 3600))[0] == 408


def test_a_request_is_what_it_was() -> None:
    scope = scope_of("POST", "/v1/ü?q=ü")
    scope["raw_path"] = b"/v1/%ff%C3%BC%2F"
    scope["headers"] = [
        (b"host", b"console.example"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"x-forwarded-for", b"1"),
        (b"x-forwarded-for", b"2"),
        (b"x_forwarded_proto", b"https"),
        (b"content-type", b"text/plain; charset=\xe9"),
        (b"content-length", b"999"),
        (b"transfer-encoding", b"chunked"),
    ]
    environ = environ_of(scope, read(chunks(b"four")))
    assert environ["PATH_INFO"].encode("latin-1") == b"/v1/\xff\xc3\xbc/"
    assert environ["QUERY_STRING"].encode("latin-1") == "q=ü".encode()
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_FORWARDED_FOR"] == "1,2"
    assert environ["CONTENT_TYPE"].encode("latin-1") == b"text/plain; charset=\xe9"
    assert (environ["CONTENT_LENGTH"], environ["wsgi.input"].read()) == ("4", b"four")
    assert not {"HTTP_X_FORWARDED_PROTO", "HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"} & set(environ)


@pytest.mark.parametrize(
    ("method", "path", "lane"),
    [
        ("POST", "/v1/batch", COLLECT),
        ("OPTIONS", "/v1/t/", COLLECT),
        ("POST", "/v1/nothing", COLLECT),
        ("GET", "/sign-in", CONSOLE),
        ("POST", "/sign-in", PASSWORDS),
        ("POST", "/invitations/x", PASSWORDS),
        ("GET", "/w/a/s/b/destinations/c", CONSOLE),
        ("POST", "/w/a/s/b/destinations/c", CALLS),
        ("POST", "/api/spaces/a/destinations/b/test", CALLS),
        ("POST", "/api/spaces/a/audiences/previews", QUERIES),
        ("GET", "/w/a/s/b/profiles", CONSOLE),
        ("GET", "/w/a/s/b/profiles?format=csv", QUERIES),
        ("GET", "/v1/spaces/s/collections/users/profiles/user_id:a/b/traits", PROFILES),
        ("POST", "/v1/namespaces/s/collections/users/profiles/batch", PROFILES),
        ("GET", "/v1/spaces/nothing", PROFILES),
        ("GET", "/readyz", CONSOLE),
        ("GET", "/static/base/tokens.css", CONSOLE),
        ("GET", "/no/such/page", CONSOLE),
    ],
)
def test_each_address_has_its_lane(method: str, path: str, lane: str) -> None:
    assert lane_of(scope_of(method, path)) == lane


@pytest.mark.django_db
@pytest.mark.parametrize(("raw_path", "status", "times"), [(b"/password", 200, 1), (b"/password%FF", 404, 2)])
def test_what_was_resolved_for_the_lane_is_not_resolved_again_unless_the_request_reads_as_another_address(
    raw_path: bytes, status: int, times: int, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    resolve, resolved, said = URLResolver.resolve, [], []

    def count(self: URLResolver, path: str) -> Any:
        if path.startswith("/"):  # the root
            resolved.append(path)
        return resolve(self, path)

    monkeypatch.setattr(URLResolver, "resolve", count)
    scope = scope_of("GET", "/password") | {"raw_path": raw_path}
    assert lane_of(scope) == CONSOLE
    Handler()(environ_of(scope, Body(BodyRoom())), lambda line, headers: said.append(line))
    assert (int(said[0][:3]), len(resolved)) == (status, times)


def test_every_mark_names_a_lane() -> None:
    marks = [getattr(route.view, "lanes", {}) for route in routes()]
    assert {name for mark in marks for name in mark.values()} <= set(THREADS)
