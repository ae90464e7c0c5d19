"""Generated Bind messages: the plain encoder of `encoder`, unrolled for one statement.

A whole message (Bind with its head and tail, and what goes behind it) is packed in as few calls
as there are runs of parameters of fixed width. What is taken for granted is what is usual: an
`int` for int4, a `str` for text, a datetime for timestamptz, no NULL. Whatever else is given, too
large, or cannot be encoded goes to the plain encoder, which is the specification, and has the
words for it. Only numbers and struct codes get into the source.

A parameter is of one of the kinds of `pgtypes.packing`.

For int4, text and timestamptz the source reads (in longer lines):

    def bind(params):
        if len(params) == 3:
            value_0, value_1, value_2, = params
            if value_0.__class__ is int and value_1.__class__ is str and value_2 is not None:
                try:
                    text_1 = value_1.encode()
                    length_1 = len(text_1)
                    value_2, = number_2(value_2)
                    if 0 not in text_1 and length_1 < 30000000:
                        return b"".join((pack_0(b"B", length + length_1, head, 4, value_0,
                            length_1), text_1, pack_1(8, value_2, tail)))
                except (StructError, OverflowError, UnicodeEncodeError, ValueError, DataError):
                    pass
        return plain(params)
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, error as StructError
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes.generating import OTHER, TEXT
from pgwire.pgtypes.packing import TESTS
from pgwire.protocol.frontend import pack_int32

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType

    Bind = Callable[[Sequence[Any]], bytes]

_TEXT = """\
                text_{n} = value_{n}.encode()
                length_{n} = len(text_{n})
"""
_OTHER = """\
                text_{n} = encode_{n}(value_{n})
                length_{n} = len(text_{n})
"""
_NUMBER = """\
                value_{n}, = number_{n}(value_{n})
"""
# More bytes than this for each of the most parameters would be more than a message may have.
LONGEST = 30_000_000
_CHECKS = {
    TEXT: f"0 not in text_{{n}} and length_{{n}} < {LONGEST}",
    OTHER: f"text_{{n}}.__class__ is bytes and length_{{n}} < {LONGEST}",
}
_MOST = 32  # parameters


def bind_source(kinds: Sequence[str]) -> tuple[str, list[str]]:
    """The source for parameters of these kinds, and the struct codes of its packs.

    `{head}` and `{tail}` in the codes stand for the sizes of a statement's own bytes.
    """
    terms, codes = _terms(kinds)
    count = len(kinds)
    values = "".join(f"value_{n}, " for n in range(count))
    tests = " and ".join(TESTS[kind].format(n=n) for n, kind in enumerate(kinds))
    lines = ["def bind(params):", f"    if len(params) == {count}:"]
    lines += [f"        {values}= params", f"        if {tests}:", "            try:"]
    for n, kind in enumerate(kinds):
        template = {TEXT: _TEXT, OTHER: _OTHER}.get(kind, _NUMBER if kind[-1] == "<" else "")
        lines += template.format(n=n).splitlines()
    checks = [_CHECKS[kind].format(n=n) for n, kind in enumerate(kinds) if kind in _CHECKS]
    indent = " " * 16
    if checks:
        lines.append(f"{indent}if {' and '.join(checks)}:")
        indent += "    "
    joined = terms[0] if len(terms) == 1 else f'b"".join(({", ".join(terms)}))'
    lines.append(f"{indent}return {joined}")
    lines += ["            except (StructError, OverflowError, ValueError, DataError):"]
    lines += ["                pass", "    return plain(params)", ""]
    return "\n".join(lines), codes


def _terms(kinds: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is joined to a message: calls of packs, whose struct codes are the second, and texts."""
    lengths = "".join(f" + length_{n}" for n, kind in enumerate(kinds) if kind in _CHECKS)
    begin = "ci{head}s", ['b"B"', f"length{lengths}", "head"]
    if not lengths:  # it is always the same, and stands in `head` already
        begin = "{head}s", ["head"]
    return terms_of(kinds, begin, ("{tail}s", ["tail"]))


def terms_of(
    kinds: Sequence[str], begin: tuple[str, list[str]], end: tuple[str, list[str]]
) -> tuple[list[str], list[str]]:
    """Values with their lengths: calls of packs, whose struct codes are the second, and texts.

    `begin` and `end`: struct codes and arguments of what is packed before them, and behind.
    """
    terms: list[str] = []
    codes: list[str] = []
    code, arguments = begin
    for n, kind in enumerate(kinds):
        if kind in _CHECKS:
            terms += [f"pack_{len(codes)}({', '.join([*arguments, f'length_{n}'])})", f"text_{n}"]
            codes.append(code + "i")
            code, arguments = "", []
        else:
            code += "i" + kind[0]
            arguments = [*arguments, str(Struct("!" + kind[0]).size), f"value_{n}"]
    if code or end[0]:
        terms.append(f"pack_{len(codes)}({', '.join([*arguments, *end[1]])})")
        codes.append(code + end[0])
    return terms, codes


@lru_cache(maxsize=512)
def _compiled(kinds: tuple[str, ...]) -> tuple[CodeType, list[str]]:
    source, codes = bind_source(kinds)
    return compile(source, f"<bind of {', '.join(kinds)}>", "exec"), codes


def can_generate(kinds: Sequence[str | None]) -> bool:
    """Whether there is anything to gain, and all of it is of a kind that is known here."""
    return 0 < len(kinds) <= _MOST and all(kind in TESTS for kind in kinds)


def generate_bind(
    kinds: tuple[str, ...],
    functions: Sequence[Callable[[Any], Any] | None],
    length: int,
    head: bytes,
    tail: bytes,
    plain: Bind,
) -> Bind:
    """What builds a whole message: `head` stands before the values, `tail` behind them.

    `functions` are those of the parameters whose kind wants one; `length` is the message's own,
    without the values.
    """
    code, packs = _compiled(kinds)
    length += sum(4 + (0 if kind in _CHECKS else Struct("!" + kind[0]).size) for kind in kinds)
    if not any(kind in _CHECKS for kind in kinds):
        head = b"B" + pack_int32(length) + head
    names: dict[str, Any] = {"plain": plain, "length": length, "head": head, "tail": tail}
    names |= {"StructError": StructError, "DataError": DataError}
    for number, pack in enumerate(packs):
        sizes = {"head": len(head), "tail": len(tail)}
        names[f"pack_{number}"] = Struct("!" + pack.format(**sizes)).pack
    for n, function in enumerate(functions):
        names[f"number_{n}"] = names[f"encode_{n}"] = function
    exec(code, names)
    bind: Bind = names["bind"]
    return bind
