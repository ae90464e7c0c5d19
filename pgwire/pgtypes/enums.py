"""Enumerated types: `str`, the label.

Knows labels, and which member of a Python enumeration is which. Must not know any other type.
The binary and the text format are the label, as of text. The manual: "Enumerated Types".
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes.codec import misfit
from pgwire.pgtypes.text import decode_utf8, encode_text, text_codec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.pgtypes.codec import Codec


def enum_codec(name: str, oid: int, array_oid: int, labels: Sequence[str]) -> Codec:
    """The codec of an enumerated type: labels are `str`.

    As a parameter a member of a Python enumeration stands for the label that is its value, or
    else its name.
    """

    def encode(value: Any) -> bytes:
        if isinstance(value, Enum):
            value = _label(value, labels)
        elif not isinstance(value, str):
            raise misfit("str or a member of an Enum", value)
        return encode_text(value)

    def literal(value: Any) -> str:
        return encode(value).decode()

    return replace(
        text_codec(name, oid, array_oid),
        encode=encode,
        literal=literal,
        gives="`str`, the label",
        takes="a member of an `Enum` whose value or name is the label",
    )


def _label(member: Enum, labels: Sequence[str]) -> str:
    for label in (member.value, member.name):
        if isinstance(label, str) and label in labels:
            return label
    if isinstance(member, str):
        return str.__str__(member)  # it may have been added since: the server judges
    raise DataError(f"none of the labels {', '.join(labels)} is the value or name of {member}")


def member_codec(codec: Codec, labels: Sequence[str], members: type[Enum]) -> Codec:
    """The same type with the members of a Python enumeration for its labels.

    A label is the member whose value it is, or else whose name. A label without a member is an
    error where it comes, and not before: it may have been added after the program was written.
    """
    by_value = {member.value: member for member in members if isinstance(member.value, str)}
    by_label = {label: by_value[label] for label in labels if label in by_value}
    by_name = {member.name: label for label, member in by_label.items()}
    for label in labels:
        if label not in by_label and label in members.__members__:
            member = by_label[label] = members.__members__[label]
            by_name.setdefault(member.name, label)

    def member_of(label: str) -> Enum:
        found = by_label.get(label)
        if found is None:  # it may be newer than what was looked up
            found = by_value.get(label) or members.__members__.get(label)
        if found is None:
            raise DataError(
                f"the label {label!r} of {codec.name} has no member in {members.__name__}"
            )
        return found

    def decode(buffer: bytes, start: int, end: int) -> Enum:
        return member_of(decode_utf8(buffer, start, end))

    def encode(value: Any) -> bytes:
        label = by_name.get(value.name) if isinstance(value, members) else None
        return codec.encode(value) if label is None else label.encode()  # type: ignore[return-value]

    def literal(value: Any) -> str:
        return encode(value).decode()

    return replace(
        codec,
        decode=decode,
        decode_text=member_of,
        encode=encode,
        literal=literal,
        gives=f"`{members.__name__}`",
    )
