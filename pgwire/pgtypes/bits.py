"""bit and varbit: strings of bits, as `str` of 0s and 1s.

Knows both formats of these types. Must not know any other type.

Python has no class for bits: an int would lose how many there are, bytes would have to be
multiples of eight. Between bits and text lies an int, for Python converts between the two in
linear time, in C. The manual: "Bit String Types".
"""

from __future__ import annotations

import re
from typing import Any

from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, malformed, misfit, text_only, wrong_length

_is_bits = re.compile("[01]*", re.ASCII).fullmatch


def _literal(value: Any) -> str:
    hint = ""
    if isinstance(value, int) and not isinstance(value, bool):
        hint = 'for eight bits pass format(value, "08b")'
    raise misfit("str of 0s and 1s", value, hint)


def _codec(name: str) -> Codec:
    def decode(buffer: bytes, start: int, end: int) -> str:
        size = end - start - 4
        if size < 0:
            raise wrong_length(name, end - start)
        count = int.from_bytes(buffer[start : start + 4], "big")
        if (count + 7) // 8 != size:
            raise malformed(name)
        if not count:  # the only int that has a digit more than bits
            return ""
        padding = size * 8 - count
        number = int.from_bytes(buffer[start + 4 : end], "big")
        # The server would set such bits to 0; it never sends any.
        if number & ((1 << padding) - 1):
            raise malformed(name)
        return format(number >> padding, f"0{count}b")

    def decode_text(text: str) -> str:
        if not _is_bits(text):
            raise malformed(name)
        return text

    own = oids.REST[name]
    gives = '`str` of 0s and 1s: "1010"'
    return Codec(name, *own, decode, decode_text, text_only(_literal), _literal, gives=gives)


CODECS = (_codec("bit"), _codec("varbit"))
