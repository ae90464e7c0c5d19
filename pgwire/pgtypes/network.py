"""inet, cidr, macaddr and macaddr8: the addresses of networks and of what is in them.

Knows both formats of these types, and what the classes of `ipaddress` can hold. Must not know
any other type.

An inet is an address with a netmask, which mostly is full and then not printed: such a one is
an address in Python, any other an interface. A cidr is a network. Both formats are first turned
into the same three numbers: how wide an address of its family is, how many bits of it the
netmask has, and the address. Hardware addresses are `str`, as Python has no class for them.

IPv6 is read in every spelling: PostgreSQL and Python write some addresses differently
(`::1.2.3.4`). The manual: "Network Address Types".
"""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import TYPE_CHECKING, Any

from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, Converted, malformed, misfit, text_only, wrong_length

if TYPE_CHECKING:
    from collections.abc import Callable

# By the width of an address.
_ADDRESSES: dict[int, type[IPv4Address | IPv6Address]] = {32: IPv4Address, 128: IPv6Address}
_INTERFACES: dict[int, type[IPv4Interface | IPv6Interface]] = {
    32: IPv4Interface,
    128: IPv6Interface,
}
_NETWORKS: dict[int, type[IPv4Network | IPv6Network]] = {32: IPv4Network, 128: IPv6Network}
# PostgreSQL's numbers for the families, which are no system's AF_INET6.
_FAMILIES = {32: 2, 128: 3}
# A binary value is family, bits, whether it is a cidr, length of the address, and the address.
_WIDTHS = {8: 32, 20: 128}

# Python would also take netmasks (1.2.3.4/255.0.0.0), scopes and leading zeros.
_match_text = re.compile(r"([0-9a-f:.]{2,45})(?:/(0|[1-9][0-9]{0,2}))?", re.ASCII).fullmatch


def _inet_of(width: int, bits: int, number: int) -> Any:
    if bits == width:
        return _ADDRESSES[width](number)
    return _INTERFACES[width]((number, bits))


def _cidr_of(width: int, bits: int, number: int) -> Any:
    return _NETWORKS[width]((number, bits))


def _inet_numbers(value: Any) -> tuple[int, int, int]:
    """The width, the bits of the netmask, and the address."""
    address: IPv4Address | IPv6Address
    if isinstance(value, IPv4Interface | IPv6Interface):  # these are addresses, too
        address, bits = value, value.network.prefixlen
    elif isinstance(value, IPv4Network | IPv6Network):
        address, bits = value.network_address, value.prefixlen
    elif isinstance(value, IPv4Address | IPv6Address):
        address, bits = value, value.max_prefixlen
    else:
        raise misfit("address, interface or network of ipaddress, or str", value)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise misfit("IPv6 without scope_id", value, "PostgreSQL has no place for it")
    return address.max_prefixlen, bits, int(address)


def _cidr_numbers(value: Any) -> tuple[int, int, int]:
    width, bits, number = _inet_numbers(value)
    if number & ((1 << (width - bits)) - 1):
        hint = "pass .network, or .ip for this address alone"
        raise misfit("network, or interface whose host bits are all 0", value, hint)
    return width, bits, number


def _codec(
    name: str,
    is_cidr: bool,
    value_of: Callable[[int, int, int], Any],
    numbers_of: Callable[[Any], tuple[int, int, int]],
    gives: str,
    takes: str,
) -> Codec:
    # The constructors of ipaddress find what is wrong with the numbers, and raise ValueError.

    def decode(buffer: bytes, start: int, end: int) -> Any:
        width = _WIDTHS.get(end - start)
        if width is None:
            raise wrong_length(name, end - start)
        family, bits, flag, size = buffer[start : start + 4]
        if family != _FAMILIES[width] or flag != is_cidr or size * 8 != width:
            raise malformed(name)
        try:
            return value_of(width, bits, int.from_bytes(buffer[start + 4 : end], "big"))
        except ValueError:
            raise malformed(name) from None

    def decode_text(text: str) -> Any:
        match = _match_text(text)
        if match is None:
            raise malformed(name)
        width = 128 if ":" in match[1] else 32
        bits = width if match[2] is None else int(match[2])
        # A full netmask is printed for a cidr only, any other always.
        if (match[2] is not None) != (is_cidr or bits != width):
            raise malformed(name)
        try:
            return value_of(width, bits, int(_ADDRESSES[width](match[1])))
        except ValueError:
            raise malformed(name) from None

    def encode(value: Any) -> bytes:
        width, bits, number = numbers_of(value)
        size = width // 8
        header = bytes((_FAMILIES[width], bits, is_cidr, size))
        return header + number.to_bytes(size, "big")

    def literal(value: Any) -> str:
        width, bits, number = numbers_of(value)
        netmask = f"/{bits}" if is_cidr or bits != width else ""
        return f"{_ADDRESSES[width](number)}{netmask}"

    own = oids.REST[name]
    return Codec(name, *own, decode, decode_text, encode, literal, gives=gives, takes=takes)


def _hardware_codec(name: str, example: str) -> Codec:
    """The codec of hardware addresses that are as long as this one."""
    size = len(bytes.fromhex(example.replace(":", " ")))
    is_text = re.compile(f"[0-9a-f]{{2}}(?::[0-9a-f]{{2}}){{{size - 1}}}", re.ASCII).fullmatch

    def decode(buffer: bytes, start: int, end: int) -> str:
        if end - start != size:
            raise wrong_length(name, end - start)
        return text_of(buffer[start:end])

    def text_of(data: bytes) -> str:
        return data.hex(":")

    def decode_text(text: str) -> str:
        if not is_text(text):
            raise malformed(name)
        return text

    def literal(value: Any) -> str:
        is_bytes = isinstance(value, bytes | bytearray | memoryview)
        raise misfit(f'str like "{example}"', value, 'pass value.hex(":")' if is_bytes else "")

    return Codec(
        name,
        *oids.REST[name],
        decode,
        decode_text,
        text_only(literal),
        literal,
        converted=Converted(f"{size}s", decode, text_of),
        gives=f'`str`: "{example}"',
    )


CODECS = (
    _codec(
        "inet",
        False,
        _inet_of,
        _inet_numbers,
        "`IPv4Address`, `IPv6Address`; `IPv4Interface`, `IPv6Interface` if the netmask is not full",
        "`IPv4Address`, `IPv4Interface`, `IPv4Network`, and those of IPv6 without `scope_id`",
    ),
    _codec(
        "cidr",
        True,
        _cidr_of,
        _cidr_numbers,
        "`IPv4Network`, `IPv6Network`",
        "`IPv4Network`, `IPv4Address`, `IPv4Interface` without host bits, and those of IPv6",
    ),
    _hardware_codec("macaddr", "08:00:2b:01:02:03"),
    _hardware_codec("macaddr8", "08:00:2b:ff:fe:01:02:03"),
)
