"""The door out against a real server on loopback, which is private, so that nothing passes unless it is allowed."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from spaces.outbound import Caller, OutboundError, send
from spaces.outbound_loop import CheckedLoop
from tests.receiver import Receiver, Reply, receiving


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with receiving() as made:
        settings.OUTBOUND_ALLOW = [made.place]
        yield made


def test_what_is_allowed_gets_an_answer(receiver: Receiver) -> None:
    receiver.answer = lambda got: Reply(418, b"short and stout", {"X-Kind": "teapot"})
    answer = send("POST", receiver.url, headers={"content-type": "text/plain", "Host": "evil.example"}, body=b"hello")
    assert (answer.status, answer.text(), answer.headers["x-kind"]) == (418, "short and stout", "teapot")
    assert answer.milliseconds > 0
    assert receiver.got[0].body == b"hello"
    assert receiver.got[0].headers["host"] == receiver.place


SPELLINGS = [
    "127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "017700000001", "0x7f.0.0.1", "0x7f000001", "127.1",
    "127.0.1", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]",
    "[64:ff9b::7f00:1]", "[::127.0.0.1]", "[fe80::1]", "169.254.169.254", "2852039166", "[::ffff:a9fe:a9fe]",
    "127.0.0.1.", "LOCALHOST", "①②⑦.⓪.⓪.①",
]  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_a_private_address_reaches_a_server(host: str, receiver: Receiver, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    with pytest.raises(OutboundError) as caught:
        send("POST", f"http://{host}:{receiver.port}/")
    assert not caught.value.arrived
    assert receiver.got == []


def test_a_refused_address_is_refused_for_good(receiver: Receiver, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    with pytest.raises(OutboundError, match="private") as caught:
        send("POST", receiver.url)
    assert caught.value.permanent
    assert "inside-the-address" not in str(caught.value)


def test_no_redirect_is_followed(receiver: Receiver) -> None:
    receiver.answer = lambda got: Reply(302, b"", {"Location": f"http://{receiver.place}/elsewhere"})
    assert send("POST", receiver.url).status == 302
    assert len(receiver.got) == 1


def test_a_long_answer_is_cut(receiver: Receiver) -> None:
    receiver.answer = lambda got: Reply(200, b"x" * 5_000_000)
    assert len(send("POST", receiver.url, largest=1000).body) == 1000


def test_a_packed_answer_is_not_unpacked(receiver: Receiver) -> None:
    receiver.answer = lambda got: Reply(200, b"\x1f\x8b not gzip at all", {"Content-Encoding": "gzip"})
    assert send("POST", receiver.url).body.startswith(b"\x1f\x8b")
    assert receiver.got[0].headers["accept-encoding"] == "identity"


def test_cookies_of_one_call_are_not_in_the_next(receiver: Receiver) -> None:
    receiver.answer = lambda got: Reply(200, b"", {"Set-Cookie": "a=1"})
    send("POST", receiver.url)
    send("POST", receiver.url)
    assert "cookie" not in receiver.got[1].headers


def test_a_server_that_does_not_answer_may_have_received_it(receiver: Receiver) -> None:
    receiver.answer = lambda got: Reply(0)
    with pytest.raises(OutboundError, match="did not answer") as caught:
        send("POST", receiver.url, timeout_s=0.3)
    assert caught.value.arrived
    assert not caught.value.permanent


@contextmanager
def endless(beginning: bytes, part: bytes, every_s: float) -> Iterator[str]:
    """The place of a server that says `part` again and again until the test is over."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def speak() -> None:
        peer, _ = listener.accept()
        try:
            peer.sendall(beginning)
            while not over.wait(every_s):
                peer.sendall(part)
        except OSError:
            pass

    threading.Thread(target=speak, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    listener.close()


@pytest.mark.parametrize(
    "beginning", [b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["head", "body"]
)
def test_an_answer_that_drips_is_ended_by_the_whole_time(beginning: bytes, settings: Any) -> None:
    """One byte every 50 ms never meets a limit on a single wait."""
    with endless(beginning, b"a", 0.05) as place:
        settings.OUTBOUND_ALLOW = [place]
        started = time.monotonic()
        with pytest.raises(OutboundError, match="did not answer") as caught:
            send("GET", f"http://{place}/", timeout_s=0.5)
    assert caught.value.arrived
    assert time.monotonic() - started < 2


def test_an_endless_answer_is_left(settings: Any) -> None:
    with endless(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 1000, 0.0001) as place:
        settings.OUTBOUND_ALLOW = [place]
        assert send("GET", f"http://{place}/", timeout_s=5, largest=5000).body == b"a" * 5000


def test_nobody_listening_means_that_nothing_arrived(settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
    settings.OUTBOUND_ALLOW = [place]
    with pytest.raises(OutboundError, match="No connection") as caught:
        send("POST", f"http://{place}/")
    assert not caught.value.arrived
    assert not caught.value.permanent


def test_the_proxy_of_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert send("POST", receiver.url).status == 200


class Raw:
    """A server that answers each request with the bytes it is told to send, at once or part by part."""

    def __init__(self, *answers: bytes | tuple[bytes, ...], pause_s: float = 0.0) -> None:
        self._answers, self._pause_s = list(answers), pause_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[tuple[int, str]] = []  # (which connection, its first line)
        self.closed: set[int] = set()  # connections that the caller ended

    def __enter__(self) -> "Raw":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=self._speak, args=(peer, number), daemon=True).start()

    def _speak(self, peer: socket.socket, number: int) -> None:
        with peer:
            reader = peer.makefile("rb")
            while first := reader.readline():
                length = 0
                while (line := reader.readline().strip().lower()) != b"":
                    length = int(line.split(b":")[1]) if line.startswith(b"content-length:") else length
                reader.read(length)
                self.requests.append((number, first.decode().strip()))
                answer = self._answers.pop(0) if self._answers else b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
                with suppress(OSError):
                    for part in answer if isinstance(answer, tuple) else (answer,):
                        peer.sendall(part)
                        time.sleep(self._pause_s)
        self.closed.add(number)


SMUGGLED = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
NOTHING = b"HTTP/1.1 204 No Content\r\n"
LEFTOVERS = {
    "a 204 with a body": NOTHING + b"\r\n" + SMUGGLED,
    "a 204 that announces one": NOTHING + b"content-length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "a 304 with a body": b"HTTP/1.1 304 Not Modified\r\n\r\n" + SMUGGLED,
    "more than was announced": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + SMUGGLED,
    "more than the last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + SMUGGLED,
    "an informational answer first": b"HTTP/1.1 103 Early Hints\r\n\r\n" + NOTHING + b"\r\n" + SMUGGLED,
    "half an answer": NOTHING + b"\r\nHTTP/1.1 200 OK\r\ncontent-le",
    "a line end": NOTHING + b"\r\n\r\n",
    "a body that comes later": (NOTHING + b"content-length: %d\r\n\r\n" % len(SMUGGLED), SMUGGLED),
}


@pytest.mark.parametrize("answer", LEFTOVERS.values(), ids=LEFTOVERS.keys())
def test_what_is_left_of_one_answer_is_never_the_answer_to_the_next_call(
    answer: bytes | tuple[bytes, ...], settings: Any
) -> None:
    """The second call gets what was said to it: a 500."""
    with Raw(answer, pause_s=0.05) as server, Caller() as caller:
        settings.OUTBOUND_ALLOW = [server.place]
        caller.send("POST", f"http://{server.place}/first", body=b"{}")
        assert caller.send("POST", f"http://{server.place}/second", body=b"{}").status == 500
    assert [number for number, _ in server.requests] == [1, 2]


def test_a_connection_is_used_again_while_only_answers_come_over_it(settings: Any) -> None:
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    with Raw(whole, NOTHING + b"\r\n", whole) as server, Caller() as caller:
        settings.OUTBOUND_ALLOW = [server.place]
        answers = [caller.send("POST", f"http://{server.place}/", body=b"{}") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 204, 200]
    assert [number for number, _ in server.requests] == [1, 1, 1]


def test_no_two_callers_share_a_connection_and_none_is_left_open(settings: Any) -> None:
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    with Raw(*[whole] * 4) as server:
        settings.OUTBOUND_ALLOW = [server.place]
        with Caller() as one, Caller() as two:
            for caller in (one, two, one):
                assert caller.send("POST", f"http://{server.place}/", body=b"{}").ok
        send("POST", f"http://{server.place}/", body=b"{}")
        deadline = time.monotonic() + 10
        while server.closed != {1, 2, 3} and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.closed == {1, 2, 3}
    assert [number for number, _ in server.requests] == [1, 2, 1, 3]


GARBAGE = {
    "no HTTP at all": b"220 mail.example ESMTP\r\n",
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "an endless head": b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000 + b"\r\n\r\n",
    "a wrong length": b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk",
    "a wrong chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok\r\n",
    "an early end": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok",
    "an early end of chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "informational answers alone": b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_whole_answer_counts_as_none(answer: bytes, settings: Any) -> None:
    """It may have arrived, so it is neither delivered nor refused."""
    with endless(answer, b"", 0.05) as place:
        settings.OUTBOUND_ALLOW = [place]
        with pytest.raises(OutboundError) as caught:
            send("POST", f"http://{place}/", timeout_s=0.4)
    assert caught.value.arrived
    assert not caught.value.permanent


def checked(loop_work: Any) -> Any:
    def work() -> Any:
        with asyncio.Runner(loop_factory=CheckedLoop) as runner:
            loop: Any = runner.get_loop()
            return runner.run(loop.within(5, loop_work(loop)))

    with ThreadPoolExecutor(1) as thread:  # a browser test may have left a loop in this one
        return thread.submit(work).result()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]".strip("[]"), "2130706433"])
def test_libraries_that_speak_asyncio_are_refused_as_well(host: str) -> None:
    with pytest.raises(OutboundError, match="private network") as caught:
        checked(lambda loop: loop.create_connection(asyncio.Protocol, host, 9))
    assert caught.value.permanent


def test_a_library_that_speaks_asyncio_reaches_what_is_allowed(receiver: Receiver, settings: Any) -> None:
    async def asked(loop: Any) -> bytes:
        reader, writer = await asyncio.open_connection("localhost", receiver.port)
        writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer

    assert checked(asked).startswith(b"HTTP/1.1 200")
    settings.OUTBOUND_ALLOW = [f"localhost:{receiver.port + 1}"]
    with pytest.raises(OutboundError, match="private network"):
        checked(asked)


@pytest.mark.parametrize(
    "around",
    [
        lambda loop: loop.sock_connect(socket.socket(), ("127.0.0.1", 9)),
        lambda loop: loop.create_unix_connection(asyncio.Protocol, "/tmp/s"),
        lambda loop: loop.create_connection(asyncio.Protocol, sock=socket.socket()),
        lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
    ],
)
def test_no_library_gets_around_the_check(around: Any) -> None:
    with pytest.raises(OutboundError):
        checked(around)
