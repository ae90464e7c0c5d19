"""inet, cidr, macaddr, macaddr8: what a server sent, and that nothing else is taken for it.

The vectors are those of PostgreSQL 18.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes.network import CODECS as ALL
from tests.pgtypes.helpers import decode, exactly, reason, refused, round_trip

CODECS = {codec.name: codec for codec in ALL}
INET, CIDR = CODECS["inet"], CODECS["cidr"]
MAX = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

VECTORS: list[tuple[str, str, str, Any]] = [
    ("inet", "02200004c0a80001", "192.168.0.1", IPv4Address("192.168.0.1")),
    ("inet", "02180004c0a80001", "192.168.0.1/24", IPv4Interface("192.168.0.1/24")),
    ("inet", "02180004c0a80000", "192.168.0.0/24", IPv4Interface("192.168.0.0/24")),
    ("inet", "0220000400000000", "0.0.0.0", IPv4Address(0)),
    ("inet", "0200000400000000", "0.0.0.0/0", IPv4Interface("0.0.0.0/0")),
    ("inet", "02200004ffffffff", "255.255.255.255", IPv4Address("255.255.255.255")),
    ("inet", "03800010" + "00" * 16, "::", IPv6Address(0)),
    ("inet", "03000010" + "00" * 16, "::/0", IPv6Interface("::/0")),
    ("inet", "03800010" + "ff" * 16, MAX, IPv6Address(MAX)),
    (
        "inet",
        "0340001020010db8000000000000000000000001",
        "2001:db8::1/64",
        IPv6Interface("2001:db8::1/64"),
    ),
    (
        "inet",
        "0300001000010002000300040005000600070008",
        "1:2:3:4:5:6:7:8/0",
        IPv6Interface("1:2:3:4:5:6:7:8/0"),
    ),
    (
        "inet",
        "0380001000000000000000000000ffff01020304",
        "::ffff:1.2.3.4",
        IPv6Address("::ffff:102:304"),
    ),
    (
        "inet",
        "0364001000000000000000000000ffff01020304",
        "::ffff:1.2.3.4/100",
        IPv6Interface("::ffff:102:304/100"),
    ),
    ("inet", "0380001000000000000000000000000000050006", "::0.5.0.6", IPv6Address("::5:6")),
    ("inet", "0380001000010000000000020000000000000003", "1:0:0:2::3", IPv6Address("1:0:0:2::3")),
    ("cidr", "020801040a000000", "10.0.0.0/8", IPv4Network("10.0.0.0/8")),
    ("cidr", "022001040a010203", "10.1.2.3/32", IPv4Network("10.1.2.3/32")),
    ("cidr", "0200010400000000", "0.0.0.0/0", IPv4Network("0.0.0.0/0")),
    ("cidr", "03000110" + "00" * 16, "::/0", IPv6Network("::/0")),
    ("cidr", "0320011020010db8" + "00" * 12, "2001:db8::/32", IPv6Network("2001:db8::/32")),
    ("cidr", "03800110" + "00" * 15 + "01", "::1/128", IPv6Network("::1/128")),
    (
        "cidr",
        "0378011000000000000000000000ffff01020300",
        "::ffff:1.2.3.0/120",
        IPv6Network("::ffff:102:300/120"),
    ),
    ("macaddr", "08002b010203", "08:00:2b:01:02:03", "08:00:2b:01:02:03"),
    ("macaddr", "000000000000", "00:00:00:00:00:00", "00:00:00:00:00:00"),
    ("macaddr", "ffffffffffff", "ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff"),
    ("macaddr8", "08002bfffe010203", "08:00:2b:ff:fe:01:02:03", "08:00:2b:ff:fe:01:02:03"),
    ("macaddr8", "ffffffffffffffff", "ff:ff:ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff:ff:ff"),
]


@pytest.mark.parametrize(("name", "data", "text", "value"), VECTORS)
def test_both_formats_give_the_same_value(name: str, data: str, text: str, value: Any) -> None:
    assert exactly(decode(CODECS[name], bytes.fromhex(data))) == exactly(value)
    assert exactly(CODECS[name].decode_text(text)) == exactly(value)


@pytest.mark.parametrize(
    ("name", "data", "text", "value"), [v for v in VECTORS if not v[0].startswith("mac")]
)
def test_a_value_is_sent_as_it_came(name: str, data: str, text: str, value: Any) -> None:
    codec = CODECS[name]
    assert codec.encode(value) == bytes.fromhex(data)
    assert exactly(codec.decode_text(codec.literal(value))) == exactly(value)


@st.composite
def interfaces(draw: st.DrawFn) -> IPv4Interface | IPv6Interface:
    address = draw(st.ip_addresses())
    made_by = IPv4Interface if address.version == 4 else IPv6Interface
    return made_by((int(address), draw(st.integers(0, address.max_prefixlen))))


@given(st.ip_addresses())
def test_addresses_come_back_from_inet(value: Any) -> None:
    assert exactly(round_trip(INET, value)) == exactly(value)
    assert exactly(INET.decode_text(INET.literal(value))) == exactly(value)


@given(interfaces())
def test_interfaces_come_back_from_inet(value: Any) -> None:
    is_full = value.network.prefixlen == value.max_prefixlen
    expected = value.ip if is_full else value
    assert exactly(round_trip(INET, value)) == exactly(expected)
    assert exactly(INET.decode_text(INET.literal(value))) == exactly(expected)


@given(interfaces())
def test_networks_come_back_from_cidr(value: Any) -> None:
    network = value.network
    assert exactly(round_trip(CIDR, network)) == exactly(network)
    assert exactly(CIDR.decode_text(CIDR.literal(network))) == exactly(network)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/8", IPv4Interface("10.0.0.0/8")),
        ("10.1.2.3/32", IPv4Address("10.1.2.3")),
        ("::/0", IPv6Interface("::/0")),
    ],
)
def test_a_network_is_an_inet_too(text: str, expected: Any) -> None:
    assert exactly(round_trip(INET, ip_network(text))) == exactly(expected)
    assert INET.literal(ip_network(text)) == str(expected)


@pytest.mark.parametrize("address", ["10.1.2.3", "::1"])
def test_an_address_is_a_network_of_its_own(address: str) -> None:
    assert round_trip(CIDR, ip_address(address)) == ip_network(address)
    assert CIDR.literal(ip_address(address)) == str(ip_network(address))
    assert round_trip(CIDR, ip_interface(address)) == ip_network(address)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "fe80::/10"])
def test_an_interface_without_host_bits_is_a_network(text: str) -> None:
    assert round_trip(CIDR, ip_interface(text)) == ip_network(text)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "fe80::1/10", "0.0.0.1/0"])
def test_host_bits_are_refused(text: str) -> None:
    value = ip_interface(text)
    for function in (CIDR.encode, CIDR.literal):
        assert reason(function, value) == (
            "expected network, or interface whose host bits are all 0, "
            f"got {type(value).__name__}; pass .network, or .ip for this address alone"
        )
    assert round_trip(CIDR, value.network) == value.network
    assert round_trip(CIDR, value.ip) == ip_network(value.ip)


@pytest.mark.parametrize("codec", [INET, CIDR])
@pytest.mark.parametrize(
    "value",
    [IPv6Address("fe80::1%eth0"), IPv6Interface("fe80::1%1/128"), IPv6Network("fe80::%1/64")],
)
def test_scopes_are_refused(codec: Any, value: Any) -> None:
    for function in (codec.encode, codec.literal):
        assert reason(function, value) == (
            f"expected IPv6 without scope_id, got {type(value).__name__}; "
            "PostgreSQL has no place for it"
        )


@pytest.mark.parametrize("codec", [INET, CIDR])
@pytest.mark.parametrize("value", [1, b"\x7f\0\0\1", "127.0.0.1", ("127.0.0.1", 8), None])
def test_only_what_ipaddress_makes_is_taken(codec: Any, value: Any) -> None:
    assert "expected address, interface or network of ipaddress, or str" in refused(codec, value)
    assert reason(codec.literal, value) == refused(codec, value)


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (INET, "03200004c0a80001"),  # the other family
        (INET, "02800010" + "00" * 16),
        (INET, "00200004c0a80001"),
        (INET, "02210004c0a80001"),  # too long a netmask
        (INET, "02ff0004c0a80001"),
        (INET, "03810010" + "00" * 16),
        (INET, "02200104c0a80001"),  # a cidr
        (CIDR, "022000040a010203"),  # an inet
        (CIDR, "022002040a010203"),
        (INET, "02200010c0a80001"),  # another length than there is
        (INET, "02200003c0a80001"),
        (CIDR, "020801040a000001"),  # host bits
        (CIDR, "022101040a000000"),
        (CIDR, "03000110" + "00" * 15 + "01"),
    ],
)
def test_malformed_bytes_are_refused(codec: Any, data: str) -> None:
    expected = f"the server's value is not a valid {codec.name}"
    assert reason(decode, codec, bytes.fromhex(data)) == expected


@pytest.mark.parametrize("codec", [INET, CIDR])
@pytest.mark.parametrize("length", [0, 1, 4, 7, 9, 12, 19, 21])
def test_lengths_are_those_of_the_two_families(codec: Any, length: int) -> None:
    assert f"it has {length} bytes" in reason(decode, codec, bytes(length))


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        (INET, ""),
        (INET, "1.2.3"),
        (INET, "1.2.3.4/32"),  # printed without
        (INET, "::/128"),
        (INET, "1.2.3.4/33"),
        (INET, "1.2.3.4/08"),
        (INET, "1.2.3.4/"),
        (INET, "1.2.3.4/255.0.0.0"),
        (INET, "1.2.3.4/+8"),
        (INET, "01.2.3.4"),
        (INET, "256.2.3.4"),
        (INET, "1.2.3.4 "),
        (INET, "1.2.3.4\n"),
        (INET, "\u0661.2.3.4"),
        (INET, "::1%eth0"),
        (INET, "::1/129"),
        (INET, "1::2::3"),
        (INET, "::ABCD"),
        pytest.param(INET, "." * 100_000, id="long"),
        (CIDR, "10.0.0.0"),  # printed with its netmask
        (CIDR, "10.0.0.1/8"),
        (CIDR, "10.0.0.0/33"),
        (CIDR, "10/8"),
        (CIDR, "::1/127"),
    ],
)
def test_malformed_text_is_refused(codec: Any, text: str) -> None:
    expected = f"the server's value is not a valid {codec.name}"
    assert reason(codec.decode_text, text) == expected


# macaddr, macaddr8


@pytest.mark.parametrize(("name", "size"), [("macaddr", 6), ("macaddr8", 8)])
@given(data=st.binary(min_size=8, max_size=8))
def test_hardware_addresses_are_str(name: str, size: int, data: bytes) -> None:
    codec = CODECS[name]
    text = ":".join(f"{byte:02x}" for byte in data[:size])
    assert decode(codec, data[:size]) == codec.decode_text(text) == text
    assert not codec.takes_str


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("macaddr", 1, 'expected str like "08:00:2b:01:02:03", got int 1'),
        ("macaddr8", None, 'expected str like "08:00:2b:ff:fe:01:02:03", got NoneType'),
        (
            "macaddr",
            b"123456",
            'expected str like "08:00:2b:01:02:03", got bytes; pass value.hex(":")',
        ),
    ],
)
def test_hardware_addresses_are_sent_as_literals_only(name: str, value: Any, message: str) -> None:
    assert refused(CODECS[name], value) == reason(CODECS[name].literal, value) == message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("macaddr", ""),
        ("macaddr", "08002b010203"),
        ("macaddr", "08-00-2b-01-02-03"),
        ("macaddr", "08:00:2B:01:02:03"),
        ("macaddr", "08:00:2b:01:02:03\n"),
        ("macaddr", "08:00:2b:01:02:03:04"),
        ("macaddr", "08:00:2b:ff:fe:01:02:03"),
        ("macaddr8", "08:00:2b:01:02:03"),
        ("macaddr8", "08:00:2b:ff:fe:01:02:0g"),
    ],
)
def test_other_spellings_of_hardware_addresses_are_refused(name: str, text: str) -> None:
    expected = f"the server's value is not a valid {name}"
    assert reason(CODECS[name].decode_text, text) == expected


@pytest.mark.parametrize(("name", "length"), [("macaddr", 5), ("macaddr", 8), ("macaddr8", 6)])
def test_hardware_addresses_have_one_length(name: str, length: int) -> None:
    assert f"it has {length} bytes" in reason(decode, CODECS[name], bytes(length))


# whatever comes


@pytest.mark.parametrize("codec", ALL, ids=lambda codec: codec.name)
@given(
    data=st.binary(max_size=24)
    | st.builds(
        lambda *parts: b"".join(parts),
        st.sampled_from([b"\2", b"\3"]),
        st.binary(min_size=1, max_size=1),
        st.sampled_from([b"\0\4", b"\1\4", b"\0\x10", b"\1\x10"]),
        st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    )
)
def test_any_bytes_are_a_value_or_a_data_error(codec: Any, data: bytes) -> None:
    with suppress(DataError):
        value = decode(codec, data)
        if not isinstance(value, str):
            assert codec.encode(value) == data
            assert exactly(codec.decode_text(codec.literal(value))) == exactly(value)


@pytest.mark.parametrize("codec", ALL, ids=lambda codec: codec.name)
@given(text=st.text(max_size=30) | st.text("0123456789abf.:/", max_size=30))
def test_any_text_is_a_value_or_a_data_error(codec: Any, text: str) -> None:
    with suppress(DataError):
        value = codec.decode_text(text)
        if not isinstance(value, str):
            assert exactly(round_trip(codec, value)) == exactly(value)
