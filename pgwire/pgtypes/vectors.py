"""pgvector's types: vector and halfvec are `list[float]`, sparsevec is `SparseVector`.

Knows their formats, and how NumPy's arrays stand in for lists where a user wants that. Must not
know any other type, nor import NumPy: who asks for its arrays brings it along.

What comes are the numbers that are stored, of 4 or 2 bytes, and they look the same in both
formats: 0.1 is 0.10000000149… pgvector has neither NaN nor infinities, and no vector without
dimensions. A list of numbers is one value and not an array; arrays of vectors are lists of lists.
The README of pgvector: "Vector Type", "Halfvec Type", "Sparsevec Type".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes import fixed
from pgwire.pgtypes.codec import Codec, malformed, misfit, wrong_length

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_INT2, _MAX_INT4 = 2**15 - 1, 2**31 - 1
_NUMBERS = "`list`, `tuple` of numbers; NumPy's arrays and whatever else has `tolist()`"

_dense_header = struct.Struct(">hh")  # dimensions, unused
_sparse_header = struct.Struct(">iii")  # dimensions, how many numbers, unused
_match_sparse = re.compile(r"\{(.*)\}/([1-9][0-9]{0,9})", re.ASCII).fullmatch
_match_entry = re.compile(r"([1-9][0-9]{0,9}):(.*)", re.ASCII).fullmatch


def _items(value: Any, expected: str = "list or tuple of float") -> Sequence[Any]:
    """The numbers of a vector, not looked at yet."""
    if hasattr(value, "tolist") and not isinstance(value, memoryview):
        items = value.tolist()
    else:
        items = value
    if not isinstance(items, list | tuple):
        raise misfit(expected, value)
    return items


def _number(value: Any) -> float:
    """The nearest float, which is finite."""
    number = float(fixed.FLOAT8.literal(value))
    if not isfinite(number):
        raise misfit("a finite float", value)
    return number


def _narrowed(name: str, code: str, value: Any) -> float:
    """The number as it is stored: in 4 bytes ("f") or in 2 ("e")."""
    try:
        narrowed: float = struct.unpack(f">{code}", struct.pack(f">{code}", _number(value)))[0]
    except OverflowError:
        raise misfit(f"float within {name}'s range", value) from None
    return narrowed


def _parsed(name: str, text: str) -> float:
    """A number as pgvector prints it, be it in 2 bytes: as the float4 that it is equal to."""
    try:
        number: float = fixed.FLOAT4.decode_text(text)
    except DataError:
        raise malformed(name) from None
    if not isfinite(number):
        raise malformed(name)
    return number


class _Dense:
    """vector or halfvec: so many numbers of one width."""

    def __init__(self, name: str, code: str) -> None:
        self.name = name
        self.code = code
        self.size = struct.calcsize(code)

    def codec(self, oid: int, array_oid: int) -> Codec:
        return Codec(
            self.name,
            oid,
            array_oid,
            self.decode,
            self.decode_text,
            self.encode,
            self.literal,
            depth=1,
            takes_tuple=True,
            gives="`list[float]`",
            takes=_NUMBERS,
        )

    def count(self, buffer: bytes, start: int, end: int) -> int:
        """How many numbers follow the header."""
        if end - start < 4:
            raise wrong_length(self.name, end - start)
        count, unused = _dense_header.unpack_from(buffer, start)
        if count < 1 or unused or end - start != 4 + count * self.size:
            raise malformed(self.name)
        return int(count)

    def decode(self, buffer: bytes, start: int, end: int) -> list[float]:
        count = self.count(buffer, start, end)
        numbers = list(struct.unpack_from(f">{count}{self.code}", buffer, start + 4))
        # So many float4s cannot add up to an infinity of doubles: one of them is one, or a NaN.
        if not isfinite(sum(numbers)):
            raise malformed(self.name)
        return numbers

    def decode_text(self, text: str) -> list[float]:
        if text[:1] != "[" or text[-1:] != "]":
            raise malformed(self.name)
        numbers = [_parsed(self.name, item) for item in text[1:-1].split(",")]
        layout = f">{len(numbers)}{self.code}"
        try:
            is_exact = struct.unpack(layout, struct.pack(layout, *numbers)) == tuple(numbers)
        except OverflowError:
            is_exact = False
        if not is_exact:
            raise malformed(self.name)
        return numbers

    def encode(self, value: Any) -> bytes:
        items = _items(value)
        if not 1 <= len(items) <= _MAX_INT2:
            raise DataError(f"a {self.name} has 1 to {_MAX_INT2} dimensions, not {len(items)}")
        # All at once takes 46 µs for 1536 floats, one by one 2.1 ms (CPython 3.11).
        if {float, int}.issuperset(map(type, items)):
            try:
                packed = struct.pack(f">{len(items)}{self.code}", *items)
                if isfinite(sum(items)):
                    return _dense_header.pack(len(items), 0) + packed
            except (OverflowError, struct.error):
                pass  # a float or an int that is too large: the plain way says which
        return self.encode_plainly(items)

    def encode_plainly(self, items: Sequence[Any]) -> bytes:
        """Encode one by one: any numbers, and with words about those that do not fit."""
        numbers = []
        for position, item in enumerate(items):
            try:
                numbers.append(_narrowed(self.name, self.code, item))
            except DataError as error:
                raise DataError(f"element [{position}]: {error}") from None
        packed = struct.pack(f">{len(numbers)}{self.code}", *numbers)
        return _dense_header.pack(len(numbers), 0) + packed

    def literal(self, value: Any) -> str:
        data = self.encode(value)
        # All digits of the narrow numbers: pgvector rounds them back to these.
        return f"[{','.join(map(repr, self.decode(data, 0, len(data))))}]"


_VECTOR, _HALFVEC = _Dense("vector", "f"), _Dense("halfvec", "e")
vector_codec, halfvec_codec = _VECTOR.codec, _HALFVEC.codec


class SparseVector:
    """pgvector's sparsevec: `dimensions`, and the `values` that are not 0 by their indexes.

    `SparseVector(5, {1: 1.5, 3: 2})` is `{1:1.5,3:2}/5`: indexes count from 1, as in pgvector's
    own text, which `str()` gives. Zeros are left out, the indexes are in order, and `values`
    cannot be changed; two are equal when both are. It is not a list, because a value of a few
    bytes may have a thousand million dimensions; `to_list()` is one as long as that.

    Values keep the precision that they were made with; what comes from the server has that of a
    float4. Raises `DataError` for what cannot be a sparsevec.
    """

    __slots__ = ("_dimensions", "_values")

    def __init__(self, dimensions: int, values: Mapping[int, float]) -> None:
        if not isinstance(values, Mapping):
            raise misfit("dict of int to float", values, "SparseVector.from_list() takes lists")
        self._dimensions = _integer("dimensions", dimensions, _MAX_INT4)
        found = {}
        for key, value in values.items():
            number = _number(value)
            if number:
                found[_integer("an index", key, self._dimensions)] = number
        self._values = MappingProxyType(dict(sorted(found.items())))

    @classmethod
    def from_list(cls, values: Iterable[float]) -> SparseVector:
        """The sparse vector of all its numbers, in order."""
        numbers = list(values)
        return cls(len(numbers), dict(enumerate(numbers, 1)))

    @property
    def dimensions(self) -> int:
        """How many numbers the vector has, with those that are 0."""
        return self._dimensions

    @property
    def values(self) -> Mapping[int, float]:
        """The numbers that are not 0 by their indexes, which begin at 1."""
        return self._values

    def to_list(self) -> list[float]:
        """All numbers, in order; mind the memory where there are many dimensions."""
        numbers = [0.0] * self._dimensions
        for position, number in self._values.items():
            numbers[position - 1] = number
        return numbers

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SparseVector):
            return NotImplemented
        return self._dimensions == other._dimensions and self._values == other._values

    def __hash__(self) -> int:
        return hash((self._dimensions, tuple(self._values.items())))

    def __repr__(self) -> str:
        return f"SparseVector({self._dimensions}, {dict(self._values)})"

    def __str__(self) -> str:
        entries = [f"{position}:{number!r}" for position, number in self._values.items()]
        return f"{{{','.join(entries)}}}/{self._dimensions}"

    def __reduce__(self) -> tuple[type[SparseVector], tuple[int, dict[int, float]]]:
        return SparseVector, (self._dimensions, dict(self._values))


def _integer(what: str, value: Any, largest: int) -> int:
    if not hasattr(type(value), "__index__") or isinstance(value, bool):
        raise misfit(f"int as {what} of a sparsevec", value)
    number = index(value)
    if not 1 <= number <= largest:
        raise misfit(f"{what} from 1 to {largest}", number)
    return number


def _sparse(value: Any) -> SparseVector:
    """The value with its numbers in 4 bytes, as pgvector keeps them."""
    if not isinstance(value, SparseVector):
        value = SparseVector.from_list(
            _items(value, "pgwire.SparseVector, or list or tuple of float")
        )
    narrowed = {}
    for position, number in value.values.items():
        narrowed[position] = _narrowed("sparsevec", "f", number)
    return SparseVector(value.dimensions, narrowed)


def _encode_sparse(value: Any) -> bytes:
    vector = _sparse(value)
    count = len(vector.values)
    return b"".join(
        (
            _sparse_header.pack(vector.dimensions, count, 0),
            struct.pack(f">{count}i", *[position - 1 for position in vector.values]),
            struct.pack(f">{count}f", *vector.values.values()),
        )
    )


def _sparse_literal(value: Any) -> str:
    return str(_sparse(value))


def _received(dimensions: int, positions: Sequence[int], numbers: Iterable[float]) -> SparseVector:
    """A vector as the server sends it: indexes in order, and no zeros."""
    try:
        vector = SparseVector(dimensions, dict(zip(positions, numbers, strict=True)))
    except DataError:
        raise malformed("sparsevec") from None
    if list(vector.values) != positions:
        raise malformed("sparsevec")
    return vector


def _decode_sparse(buffer: bytes, start: int, end: int) -> SparseVector:
    if end - start < 12:
        raise wrong_length("sparsevec", end - start)
    dimensions, count, unused = _sparse_header.unpack_from(buffer, start)
    if unused or count < 0 or end - start != 12 + 8 * count:
        raise malformed("sparsevec")
    positions = struct.unpack_from(f">{count}i", buffer, start + 12)
    numbers = struct.unpack_from(f">{count}f", buffer, start + 12 + 4 * count)
    return _received(dimensions, [position + 1 for position in positions], numbers)


def _decode_sparse_text(text: str) -> SparseVector:
    whole = _match_sparse(text)
    if whole is None:
        raise malformed("sparsevec")
    entries, dimensions = whole.groups()
    positions, numbers = [], []
    for entry in entries.split(",") if entries else ():
        match = _match_entry(entry)
        if match is None:
            raise malformed("sparsevec")
        positions.append(int(match[1]))
        numbers.append(_parsed("sparsevec", match[2]))
    return _received(int(dimensions), positions, numbers)


def sparsevec_codec(oid: int, array_oid: int) -> Codec:
    return Codec(
        "sparsevec",
        oid,
        array_oid,
        _decode_sparse,
        _decode_sparse_text,
        _encode_sparse,
        _sparse_literal,
        depth=1,
        takes_tuple=True,
        gives="`pgwire.SparseVector`",
        takes=f"`pgwire.SparseVector`; {_NUMBERS}",
    )


def numpy_codec(codec: Codec, numpy: Any) -> Codec:
    """The codec of vector or halfvec, or of a domain over them, with NumPy's arrays as results.

    They are of one dimension, in float32 or float16, and can be written to. `numpy` is the
    module. The codec of any other type is made one that refuses all values.
    """
    dense = getattr(codec.decode, "__self__", None)
    if not isinstance(dense, _Dense):
        return _without_numpy(codec)
    sent, native = numpy.dtype(f">{dense.code}"), numpy.dtype(f"={dense.code}")

    def decode(buffer: bytes, start: int, end: int) -> Any:
        count = dense.count(buffer, start, end)
        numbers = numpy.frombuffer(buffer, sent, count, start + 4).astype(native)
        if not numpy.isfinite(numbers).all():
            raise malformed(dense.name)
        return numbers

    def decode_text(text: str) -> Any:
        return numpy.array(dense.decode_text(text), native)

    def encode(value: Any) -> bytes:
        # 3 µs for 1536 numbers, where the way by a list takes 60 (CPython 3.11).
        is_ready = isinstance(value, numpy.ndarray) and value.dtype == native and value.ndim == 1
        if is_ready and 1 <= len(value) <= _MAX_INT2 and numpy.isfinite(value).all():
            packed: bytes = value.astype(sent).tobytes()
            return _dense_header.pack(len(value), 0) + packed
        return dense.encode(value)

    return replace(
        codec,
        decode=decode,
        decode_text=decode_text,
        encode=encode,
        gives=f"`numpy.ndarray` of {native.name}",
    )


def _without_numpy(codec: Codec) -> Codec:
    def refuse(*_value: Any) -> Any:
        raise DataError(
            f"numpy.ndarray is registered for {codec.name}, but can only stand for pgvector's"
            " vector and halfvec"
        )

    return replace(
        codec, decode=refuse, decode_text=refuse, encode=refuse, literal=refuse, struct_code=None
    )
