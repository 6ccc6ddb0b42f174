"""The door out, as far as no socket is needed: which addresses are refused, in every spelling."""

import socket
from typing import Any

import pytest

from spaces import outbound
from spaces.outbound import OutboundError, check_url, checked_addresses, forbidden

PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "168.63.129.16",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001::1", "2001:0:7f00:1::1", "2001:db8::1", "100::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1", "3fff::1", "5f00::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_a_private_network_is_forbidden(address: str) -> None:
    assert forbidden(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not(address: str) -> None:
    assert not forbidden(address)


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def getaddrinfo(host: str, port: int, **kwargs: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(outbound.socket, "getaddrinfo", getaddrinfo)


def test_a_name_that_resolves_to_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "10.0.0.5")
    with pytest.raises(OutboundError, match="private network") as caught:
        checked_addresses("inside.example.com", 443)
    assert caught.value.permanent


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "8.8.8.8", "127.0.0.1")
    with pytest.raises(OutboundError):
        checked_addresses("half.example.com", 443)


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "8.8.8.8")
    connected: list[str] = []

    class Inner:
        def connect_tcp(self, host: str, *args: Any) -> Any:
            connected.append(host)
            resolving(monkeypatch, "127.0.0.1")  # the name leads elsewhere from now on
            raise outbound.httpcore.ConnectError("enough")

    backend = outbound._Backend()
    backend._inner = Inner()  # type: ignore[assignment]
    with pytest.raises(outbound.httpcore.ConnectError):
        backend.connect_tcp("rebinding.example.com", 443)
    assert connected == ["8.8.8.8"]


def test_an_allowed_place_may_be_private(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "10.0.0.5")
    settings.OUTBOUND_ALLOW = ["tool.internal:8080", "10.0.0.5:9000"]
    assert checked_addresses("tool.internal", 8080) == ["10.0.0.5"]
    assert checked_addresses("other.internal", 9000) == ["10.0.0.5"]
    with pytest.raises(OutboundError):
        checked_addresses("tool.internal", 8081)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "example.com", "//example.com", "",
        "http://", "https:///path", "http://user:pw@example.com/", "http://user@example.com/", "http://@example.com/",
        "http://example.com:99999/", "http://example.com:0/", "http://exa mple.com/", "http://example.com\\@evil/",
        "http://[::1", "http://exam%70le.com/", "javascript:alert(1)", "http://a\n.example.com/",
    ],
)  # fmt: skip
def test_an_address_of_a_wrong_form_is_refused_for_good(url: str) -> None:
    with pytest.raises(OutboundError) as caught:
        check_url(url)
    assert caught.value.permanent


@pytest.mark.parametrize(
    "url", ["https://example.com/hook?a=b", "http://example.com:8080", "http://[2606:4700::1111]/"]
)
def test_a_usual_address_is_not(url: str) -> None:
    check_url(url)
