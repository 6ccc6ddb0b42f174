"""HTTP as cheap as Python can say it: the client shares the machine's cores with the server that is measured."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import urlsplit

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Connection:
    """One kept-alive connection, on which one request follows the other."""

    def __init__(self, address: str) -> None:
        url = urlsplit(address)
        self._socket = socket.create_connection((url.hostname, url.port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        """It was answered with 200. Raises RuntimeError."""
        self._socket.sendall(request)
        answer = b""
        while not is_whole(answer):
            part = self._socket.recv(65536)
            if not part:
                raise RuntimeError("the server closed the connection")
            answer += part
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:300].decode(errors="replace"))

    def close(self) -> None:
        self._socket.close()


def is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    return bool(end) and len(body) >= (int(length.group(1)) if length else 0)


def request(method: str, path: str, address: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def batch(address: str, write_key: str, messages: Iterable[object]) -> bytes:
    """A request of several messages, without `sentAt`: their times are taken as given."""
    body = json.dumps({"writeKey": write_key, "batch": list(messages)}).encode()
    return request("POST", "/v1/batch", address, body)


def side_by_side(address: str, clients: int, work: Callable[[Connection], object]) -> None:
    """`work` is done by so many clients at once, each with a connection of its own. Raises what one of them raised."""
    errors: list[Exception] = []

    def be_client() -> None:
        connection = Connection(address)
        try:
            work(connection)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=be_client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def send_all(address: str, requests: Iterable[bytes], *, clients: int = 4) -> None:
    """Every request was answered with 200."""
    left, lock = iter(requests), threading.Lock()

    def take(left: Iterator[bytes]) -> bytes | None:
        with lock:
            return next(left, None)

    def work(connection: Connection) -> None:
        while (each := take(left)) is not None:
            connection.send(each)

    side_by_side(address, clients, work)
