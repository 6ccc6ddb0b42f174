"""Addresses of private networks, in all the ways in which one can be written; and hosts that only look like some."""

from collections.abc import Iterator
from ipaddress import IPv4Address

# This machine, its networks, what clouds answer inside of a virtual machine, and the edges of what is reserved.
PRIVATE = (
    "127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "172.16.0.1", "100.64.0.1", "168.63.129.16",
)  # fmt: skip
OTHERS = (
    "0.0.0.0", "0", "127.255.255.254", "10.255.255.255", "172.31.255.255", "100.100.100.200", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255", "::", "::1", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001",
    "::ffff:0:127.0.0.1", "64:ff9b:1::a00:1", "2001::1", "2001:0:7f00:1::1", "2001:db8::1", "100::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "FE80::1", "fec0::1", "ff02::1", "3fff::1", "5f00::1", "localhost", "LOCALHOST",
    "localhost.", "a.localhost", "lOcAlHoSt",
)  # fmt: skip
PUBLIC = (
    "example.com", "api.example.com", "hooks.slack.com", "localhost.example.com", "localhostess.com",
    "my-localhost.com", "10.0.0.1.example.com", "127.0.0.1.nip.example", "internal.example.com", "169.example.com",
    "127-0-0-1.example.com", "intranet.example.org", "0x7f.example.com", "xn--bcher-kva.example", "bücher.example",
    "a.b.c.d.e.example", "8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.0", "126.255.255.255", "128.0.0.1",
    "172.15.255.255", "172.32.0.1", "192.167.255.255", "192.169.0.1", "169.253.255.255", "169.255.0.1",
    "100.63.255.255", "100.128.0.1", "198.20.0.1", "223.255.255.255", "134744072", "0x08080808", "8.8.2056",
    "2606:4700:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
)  # fmt: skip


def spellings(address: str) -> Iterator[str]:
    """The ways to write one IPv4 address."""
    number, parts = int(IPv4Address(address)), [int(part) for part in address.split(".")]
    a, b, c, d = parts
    yield from (address, f"{address}.", str(number), hex(number), hex(number).upper().replace("X", "x"), f"0{number:o}")
    yield ".".join(hex(part) for part in parts)
    yield ".".join(f"0{part:o}" for part in parts)
    yield ".".join(f"0000{part:o}" for part in parts)
    yield f"{hex(a)}.{b}.0{c:o}.{d}"
    yield f"{a}.{(b << 16) + (c << 8) + d}"
    yield f"{a}.{b}.{(c << 8) + d}"
    yield f"{hex(a)}.{hex(number & 0xFFFFFF)}"
    yield address.translate(str.maketrans("0123456789.", "０１２３４５６７８９。"))
    yield address.translate(str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨"))
    high, low = number >> 16, number & 0xFFFF
    yield from (
        f"::ffff:{address}",
        f"::FFFF:{address}",
        f"::ffff:{high:x}:{low:x}",
        f"0:0:0:0:0:ffff:{high:x}:{low:x}",
    )
    yield from (f"::{address}", f"::{high:x}:{low:x}", f"64:ff9b::{address}", f"64:ff9b::{high:x}:{low:x}")
    yield from (f"2002:{high:x}:{low:x}::", f"2002:{high:x}:{low:x}::1")


SPELLINGS = tuple(dict.fromkeys([*(one for address in PRIVATE for one in spellings(address)), *OTHERS]))


def in_url(host: str) -> str:
    """As it stands in an address."""
    return f"[{host}]" if ":" in host else host
