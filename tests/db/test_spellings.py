"""No setting leads into a private network, by any spelling, through any transport: neither when it is saved nor when
something is sent, also not by a redirect, or by a name that leads elsewhere the second time.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from alerts.channels import all_channels
from audiences.rules.warehouse import WarehouseError
from audiences.warehouses import all_warehouses
from destinations.adapters import adapter_of, all_adapters
from destinations.models import Destination
from destinations.rules.send_batch import Unanswered
from destinations.transports import TRANSPORTS
from spaces import outbound
from spaces.outbound import OutboundError, check_settings, checked_addresses
from spaces.settings_schema import InvalidSetting, SettingField, fields_of, parse
from tests.receiver import Receiver, Reply, receiving
from tests.spellings import PUBLIC, SPELLINGS, in_url
from tests.vendors import DATABASE, SETTINGS

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
DECLARED = {
    **{kind: (adapter.settings, SETTINGS[kind]) for kind, adapter in all_adapters().items()},
    **{f"warehouse {kind}": (warehouse.settings, DATABASE) for kind, warehouse in all_warehouses().items()},
    **{
        f"alert by {kind}": (all_channels()[kind].settings, {name: "https://hooks.slack.com/services/T"})
        for kind, name in (("webhook", "url"), ("slack", "webhookUrl"))
    },
}


def led(field: SettingField, host: str, port: int = 8443) -> str:
    """The value of a setting by which it is this host."""
    if field.url:
        return f"https://{in_url(host)}:{port}/hook"
    return f"{in_url(host)}:{port}" if field.name == "brokers" else host


LEADING = [
    (name, field)
    for name, (declared, _) in DECLARED.items()
    for field in fields_of(declared)
    if field.url or field.place
]


@pytest.mark.parametrize(("name", "field"), LEADING, ids=[f"{name} {field.name}" for name, field in LEADING])
def test_no_spelling_of_a_private_address_is_saved_and_no_public_host_is_refused(
    name: str, field: SettingField
) -> None:
    declared, given = DECLARED[name]
    changed = {"segment_http": {"receiver": "other"}, "posthog": {"region": "own server"}}.get(name, {})
    assert len(SPELLINGS) >= 150
    for host in SPELLINGS:
        with pytest.raises(InvalidSetting):
            check_settings(parse(declared, {**given, **changed, field.name: led(field, host)}))
    assert len(PUBLIC) >= 30
    for host in PUBLIC if name != "salesforce" else ["acme.my.salesforce.com"]:
        check_settings(parse(declared, {**given, **changed, field.name: led(field, host)}))


def test_whatever_says_where_a_tool_is_is_declared_so() -> None:
    """A new kind whose settings say where it is leads nowhere without a check."""
    told = {name for name, field in LEADING}
    for name, (declared, given) in DECLARED.items():
        leads = any("example.com" in str(value) or "://" in str(value) for value in given.values())
        assert not leads or name in told, (name, declared)


# Whatever opens connections: name -> open(host, port), which raises when there is no answer.


def transport(kind: str, field: str, value: Callable[[str, int], str]) -> Callable[[str, int], object]:
    def ask(host: str, port: int) -> object:
        adapter = adapter_of(kind)
        ports = {"port": port} if any(one.name == "port" for one in fields_of(adapter.settings)) else {}
        tls = {"tls": "off"} if any(one.name == "tls" for one in fields_of(adapter.settings)) else {}
        settings = parse(adapter.settings, {**SETTINGS[kind], field: value(host, port), **ports, **tls})
        with TRANSPORTS[adapter.transport](Destination(), settings) as call:
            return call(adapter.test(settings, NOW))

    return ask


def warehouse(kind: str) -> Callable[[str, int], object]:
    def ask(host: str, port: int) -> object:
        declared = all_warehouses()[kind]
        settings = parse(declared.settings, {**DATABASE, "host": host, "port": port, "tls": "off"})
        with declared.ask(settings, "SELECT 1", 2.0) as result:
            return [*result.rows]

    return ask


def url(host: str, port: int) -> str:
    return f"http://{in_url(host)}:{port}"


ASK = {
    "http": transport("webhook", "url", url),
    "clickhouse": transport("clickhouse", "url", url),
    "s3": transport("s3", "endpoint", url),
    "postgresql": transport("postgresql", "host", lambda host, port: host),
    "mysql": transport("mysql", "host", lambda host, port: host),
    "sftp": transport("sftp", "host", lambda host, port: host),
    "kafka": transport("kafka", "brokers", lambda host, port: f"{in_url(host)}:{port}"),
    **{f"warehouse {kind}": warehouse(kind) for kind in all_warehouses()},
}


def test_every_transport_is_tried() -> None:
    assert {adapter.transport for adapter in all_adapters().values()} - {"catcher"} <= {*ASK}


class Trap:
    """Listens on an address of the loopback, and counts who comes."""

    def __init__(self, address: str, port: int = 0) -> None:
        self._listener = socket.create_server((address, port))
        self.port: int = self._listener.getsockname()[1]
        self.visits = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                visitor, _ = self._listener.accept()
            except OSError:
                return
            self.visits += 1
            visitor.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    made = Trap("127.0.0.1")
    yield made
    made.close()


@pytest.mark.parametrize("name", ASK)
def test_no_spelling_of_a_private_address_is_connected_to(
    name: str, trap: Trap, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OUTBOUND_ALLOW = []
    look_up = socket.getaddrinfo

    def of_this_machine(host: Any, *more: Any, **most: Any) -> Any:
        if str(host).endswith(".") and str(host) != "localhost.":  # it would be asked of a server
            raise socket.gaierror("nobody knows")
        return look_up(host, *more, **most)

    monkeypatch.setattr(socket, "getaddrinfo", of_this_machine)
    for host in SPELLINGS:
        with pytest.raises((Unanswered, OutboundError)) as caught:
            ASK[name](host, trap.port)
        assert caught.value.permanent or host.endswith((".", ".localhost")), (host, caught.value)  # unknown names
    assert trap.visits == 0


@pytest.mark.parametrize("name", ASK)
def test_a_name_that_leads_elsewhere_the_second_time_is_only_followed_the_first_time(
    name: str, trap: Trap, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.3 stands for a public address; the trap is on a private one, at the same port."""
    settings.OUTBOUND_ALLOW = []
    look_up, asked = socket.getaddrinfo, 0

    def rebinding(host: Any, port: Any, *more: Any, **most: Any) -> Any:
        nonlocal asked
        if host not in ("rebinding.example.com", b"rebinding.example.com"):
            return look_up(host, port, *more, **most)
        if most.get("flags") == socket.AI_NUMERICHOST:
            raise socket.gaierror("it is a name")
        asked += 1
        return look_up("127.0.0.3" if asked == 1 else "127.0.0.1", port, *more, **most)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(outbound, "forbidden", lambda address: address != "127.0.0.3")
    public = Trap("127.0.0.3", trap.port)
    with pytest.raises((Unanswered, OutboundError, WarehouseError)):
        ASK[name]("rebinding.example.com", trap.port)
    public.close()
    assert public.visits > 0
    assert trap.visits == 0


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with receiving() as made:
        settings.OUTBOUND_ALLOW = [made.place]
        yield made


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("name", ["http", "clickhouse", "s3", "warehouse clickhouse"])
def test_no_redirect_leads_anywhere(name: str, status: int, receiver: Receiver, trap: Trap) -> None:
    receiver.answer = lambda got: Reply(status, b"", {"Location": f"http://127.0.0.1:{trap.port}/"})
    answer: Any = None
    with suppress(WarehouseError):
        answer = ASK[name]("127.0.0.1", receiver.port)
    assert answer is None or answer.status == status
    assert receiver.got
    assert trap.visits == 0


def test_no_public_host_is_refused_when_something_is_sent(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    look_up = socket.getaddrinfo

    def public(host: Any, port: Any, *more: Any, **most: Any) -> Any:
        try:
            return look_up(host, port, *more, **most | {"flags": socket.AI_NUMERICHOST})
        except OSError:
            return look_up("93.184.215.14", port, *more, **most)

    monkeypatch.setattr(socket, "getaddrinfo", public)
    for host in PUBLIC:
        assert checked_addresses(host, 443)
