"""The one door out: the only code that opens connections to addresses that users give.

A name is resolved here, every address it has is checked, and the connection goes to an address that was
checked: a second look-up between check and connect could answer something else. The URL's host stays what it
was for TLS, the Host header and the pool, so a kept connection is only ever used for the name it was verified for.
A connection is kept for the calls of one `Caller` alone, and only while nothing but the answers came over it: what
is left of one answer would be read as the next. No redirects, no proxy from the environment, no userinfo; time and
size are capped in all.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Self, cast
from urllib.parse import urlsplit

import httpcore
import httpx
from django.conf import settings

from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, fields_of

__all__ = ["Answer", "Caller", "OutboundError", "check_url", "send"]

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
OUR_HEADERS = {"host", "content-length"}  # no caller's business
TIMEOUT_S = 10.0
CONNECT_S = 5.0
LARGEST_ANSWER = 64 * 1024
MOST_CONNECTIONS = 64
KEPT_S = 15.0  # an idle connection

# Addresses that `is_global` of some Python lets pass, or that only look global.
FORBIDDEN = [
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's platform address: public range, answers inside every virtual machine
        "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
        "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
]  # fmt: skip
NAT64 = ip_network("64:ff9b::/96")
SIX_TO_FOUR = ip_network("2002::/16")

_deadline = threading.local()  # .at: when the call of this thread must be over
PRIVATE = "The address leads into a private network; whoever runs Personas can allow it (PERSONAS_OUTBOUND_ALLOW)"


class OutboundError(Exception):
    """A call that has no answer.

    permanent: trying again unchanged will not help. arrived: the other side may have received it.
    """

    def __init__(self, message: str, *, permanent: bool = False, arrived: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.arrived = arrived


def send(method: str, url: str, **more: Any) -> Answer:
    """One call over a connection of its own. The same as Caller.send."""
    with Caller() as caller:
        return caller.send(method, url, **more)


class Caller:
    """Calls for one owner while the block lasts, over connections that nobody else gets. For any number of threads."""

    def __init__(self) -> None:
        # Each thread has connections of its own: over those of one pool, they would wait for its lock at every call.
        self._of_thread = threading.local()
        self._transports: list[_Transport] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for transport in self._transports:
            transport.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = TIMEOUT_S,
        largest: int = LARGEST_ANSWER,
    ) -> Answer:
        """Call `url` and return its answer, of any status. Raises OutboundError when there is none.

        timeout_s: for everything together, from the look-up of the name to the end of the body.
        largest: bytes of the body kept; the rest is not read. The body is as sent, never unpacked.
        """
        check_url(url)
        if method not in METHODS:
            raise OutboundError(f"{method} is not a method we use", permanent=True)
        # The host is the URL's and never the caller's: it says for whom the connection was checked.
        kept = {name: value for name, value in (headers or {}).items() if name.lower() not in OUR_HEADERS}
        ours = {"user-agent": "Personas", "accept": "*/*", "accept-encoding": "identity"}
        started = time.monotonic()
        _deadline.at = started + timeout_s
        try:
            return _send(self._transport(), method, url, ours | kept, body, started, timeout_s, largest)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError) as error:
            raise OutboundError(f"The address cannot be used: {_plain(error)}", permanent=True) from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise OutboundError(f"No connection to {_place(url)}: {_plain(error)}") from error
        except httpx.TimeoutException as error:
            raise OutboundError(f"{_place(url)} did not answer within {timeout_s:g} s", arrived=True) from error
        except httpx.HTTPError as error:
            raise OutboundError(f"{_place(url)} broke off: {_plain(error)}", arrived=True) from error
        finally:
            _deadline.at = None

    def _transport(self) -> "_Transport":
        transport: _Transport | None = getattr(self._of_thread, "transport", None)
        if transport is None:
            transport = self._of_thread.transport = _Transport()
            self._transports.append(transport)
        return transport


@lru_cache(maxsize=1024)  # asked before each of thousands of calls to the same few addresses
def check_url(url: str) -> None:
    """The address has a form we call. Says nothing of where its name leads. Raises OutboundError, permanent."""
    try:
        parts = urlsplit(url)
        port = parts.port
        parsed = httpx.URL(url)
    except (ValueError, httpx.InvalidURL, UnicodeError) as error:
        raise OutboundError("The address is not a URL", permanent=True) from error
    if parts.scheme not in {"http", "https"}:
        raise OutboundError("The address must begin with http:// or https://", permanent=True)
    if "@" in parts.netloc or parsed.userinfo:
        raise OutboundError("The address must not contain a user name or password", permanent=True)
    if not parts.hostname or not parsed.host or port == 0 or any(c.isspace() or c in "\\%" for c in parts.netloc):
        raise OutboundError("The address has no usable host", permanent=True)


def check_place(host: str, port: int) -> None:
    """The host is no address of a private network, however it is spelt. Raises OutboundError.

    Nothing is looked up: where a name leads may be another place whenever it is called, and is asked then.
    """
    name = host.lower().rstrip(".")
    local = name == "localhost" or name.endswith(".localhost")
    try:
        # Whatever the C library takes for an address, which is more than `ipaddress` does: 127.1, 0x7f000001.
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(name, port, flags=socket.AI_NUMERICHOST)}
    except (OSError, UnicodeError):  # a name
        addresses = {"127.0.0.1"} if local else set()
    if f"{host}:{port}".lower() not in _allowed():
        _refuse_private(addresses, port)


def check_settings(given: SettingsDeclaration) -> None:
    """Wherever they lead is a place that may be called, as far as can be told without asking. Raises InvalidSetting."""
    for field in fields_of(type(given)):
        value = getattr(given, field.attribute)
        try:
            if field.url and value:
                check_url(value)
                url = urlsplit(value)
                check_place(str(url.hostname), url.port or {"http": 80, "https": 443}[url.scheme])
            for place in value.split(",") if field.place else ():
                host, port = place.strip(), getattr(given, "port", None)
                if port is None:
                    host, _, port = host.rpartition(":")
                check_place(host.strip("[]"), int(port))
        except OutboundError as error:
            raise InvalidSetting(field.name, str(error)) from error


def forbidden(address: str) -> bool:
    """Whether this IP address is one that users may not make us call."""
    ip = ip_address(address.split("%")[0])  # the zone of a link-local address
    inner = _inner(ip)
    if inner is not None:
        return forbidden(str(inner))
    return not ip.is_global or ip.is_multicast or ip.is_reserved or any(ip in net for net in FORBIDDEN)


def _inner(ip: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, NAT64, 6to4."""
    if isinstance(ip, IPv4Address):
        return None
    if ip.ipv4_mapped or ip.sixtofour:
        return ip.ipv4_mapped or ip.sixtofour
    return IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 else None


def checked_addresses(host: str, port: int) -> list[str]:
    """Where to connect for `host`. Refuses as soon as one of its addresses is forbidden."""
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"the name {host} is not known") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    if f"{host}:{port}".lower() not in _allowed():
        _refuse_private(addresses, port)
    return addresses


def _allowed() -> set[str]:
    return {place.lower() for place in settings.OUTBOUND_ALLOW}


def _refuse_private(addresses: Iterable[str], port: int) -> None:
    """Raises OutboundError when one of them is forbidden, and whoever runs this has not allowed it."""
    if any(forbidden(address) and f"{address}:{port}" not in _allowed() for address in addresses):
        raise OutboundError(PRIVATE, permanent=True)


def checked_address(host: str, port: int) -> str:
    """Where a client that connects by itself may connect to for `host`. Raises OutboundError."""
    try:
        return checked_addresses(host, port)[0]
    except httpcore.ConnectError as error:
        raise OutboundError(f"No connection to {host}:{port}: {error}") from error


class _Stream(httpcore.NetworkStream):
    """A connection on which no single wait goes past the call's deadline, however slowly bytes drip in."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _left(timeout, httpcore.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception | None = None
        for address in checked_addresses(host, port):
            try:
                wait = _left(timeout, httpcore.ConnectTimeout)
                return _Stream(self._inner.connect_tcp(address, port, wait, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        raise OutboundError("The address is not a network address", permanent=True)


class _Connection(httpcore.HTTPConnection):
    """A connection that is not used again once more came over it than the answer to what was asked."""

    def has_expired(self) -> bool:
        if super().has_expired():
            return True
        # Bytes behind the answer that were read already; for those that are still on the way httpcore looks itself.
        http = getattr(self._connection, "_h11_state", None)
        return self.is_idle() and (http is None or bool(http.trailing_data[0]))


class _Pool(httpcore.ConnectionPool):
    def create_connection(self, origin: httpcore.Origin) -> httpcore.ConnectionInterface:
        return _Connection(
            origin=origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=self._keepalive_expiry,
            network_backend=self._network_backend,
        )


class _Transport(httpx.HTTPTransport):
    """Errors of httpcore as those of httpx; the pool, and what it trusts, are ours."""

    def __init__(self) -> None:
        self._pool = _Pool(
            ssl_context=_trusted(),  # one for all: to read the certificate authorities takes longer than most calls
            max_connections=MOST_CONNECTIONS,
            keepalive_expiry=KEPT_S,
            network_backend=_Backend(),
        )


_trusted = cache(ssl.create_default_context)


def _send(
    transport: _Transport,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    started: float,
    timeout_s: float,
    largest: int,
) -> Answer:
    timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
    # A bare transport, not a client: nothing is followed, and no cookie of one tenant meets another's call.
    request = httpx.Request(method, url, headers=dict(headers), content=body, extensions={"timeout": timeout.as_dict()})
    response = transport.handle_request(request)
    try:
        # In parts, and no further than is kept: who answers without end would otherwise be read until the deadline.
        kept = bytearray()
        for chunk in cast(httpx.SyncByteStream, response.stream):
            kept += chunk
            if len(kept) >= largest:
                break
    finally:
        response.close()
    answered = {name.lower(): value for name, value in response.headers.items()}
    announced = "transfer-encoding" in answered or answered.get("content-length", "0") != "0"
    # A body that an answer of this status never has may still come, and would be read as the answer to the next call.
    if response.status_code in (204, 304) and announced:
        response.extensions["network_stream"].close()
    return Answer(response.status_code, answered, bytes(kept[:largest]), (time.monotonic() - started) * 1000)


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    at = getattr(_deadline, "at", None)
    if at is None:
        return timeout
    left = at - time.monotonic()
    if left <= 0:
        raise late("time is up")
    return min(left, timeout) if timeout else left


def _place(url: str) -> str:
    """Host and port: enough to find the fault; path and query may hold secrets."""
    return urlsplit(url).netloc


def _plain(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
