"""The door out against a real server on loopback, which is private, so that nothing passes unless it is allowed."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from spaces import outbound
from spaces.outbound import OutboundError, send
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
    outbound._transport.cache_clear()
    assert send("POST", receiver.url).status == 200
