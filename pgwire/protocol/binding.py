"""Generated Bind messages: the plain encoder of `encoder`, unrolled for one statement.

Where every parameter is of a type of fixed width, or a text, a whole message (Bind with its
head and tail, and what goes behind it) is packed in one call, or two. It is made for values of
the very class that the type is packed from (an `int` for int4, a `str` for text); whatever else
is given, too large, or cannot be encoded goes to the plain encoder, which is the specification,
and has the words for it. Only numbers and struct codes get into the source.

For int4, text and int8 the source reads (in longer lines):

    def bind(params):
        if len(params) == 3:
            value_0, value_1, value_2, = params
            if value_0.__class__ is int and value_1.__class__ is str and value_2.__class__ is int:
                try:
                    text_1 = value_1.encode()
                    length_1 = len(text_1)
                    if 0 not in text_1 and length_1 < 1000000:
                        return b"".join((pack_0(b"B", length + length_1, head, 4, value_0,
                            length_1), text_1, pack_1(8, value_2, tail)))
                except (StructError, OverflowError, UnicodeEncodeError):
                    pass
        return plain(params)
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, error as StructError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType

    Bind = Callable[[Sequence[Any]], bytes]

TEXT = "text"
# Each is packed from values of this class, and of no other.
PACKED_FROM = {"h": int, "i": int, "q": int, "I": int, "d": float, "?": bool}
_CLASSES = {code: kind.__name__ for code, kind in PACKED_FROM.items()} | {TEXT: "str"}
# More text than this, and the lengths might not fit.
_LONGEST_TEXT = 1_000_000
_MOST = 32  # parameters


def bind_source(kinds: Sequence[str]) -> tuple[str, list[str]]:
    """The source for parameters of these kinds, and the struct codes of its packs.

    `{head}` and `{tail}` in the codes stand for the sizes of a statement's own bytes.
    """
    terms, codes = _terms(kinds)
    count = len(kinds)
    values = "".join(f"value_{n}, " for n in range(count))
    classes = " and ".join(f"value_{n}.__class__ is {_CLASSES[k]}" for n, k in enumerate(kinds))
    texts = [n for n, kind in enumerate(kinds) if kind == TEXT]
    lines = ["def bind(params):", f"    if len(params) == {count}:"]
    lines += [f"        {values}= params", f"        if {classes}:", "            try:"]
    for n in texts:
        lines += [f"                text_{n} = value_{n}.encode()"]
        lines += [f"                length_{n} = len(text_{n})"]
    checks = " and ".join(f"0 not in text_{n} and length_{n} < {_LONGEST_TEXT}" for n in texts)
    indent = " " * 16
    if texts:
        lines.append(f"{indent}if {checks}:")
        indent += "    "
    joined = terms[0] if len(terms) == 1 else f'b"".join(({", ".join(terms)}))'
    lines.append(f"{indent}return {joined}")
    lines += ["            except (StructError, OverflowError, UnicodeEncodeError):"]
    lines += ["                pass", "    return plain(params)", ""]
    return "\n".join(lines), codes


def _terms(kinds: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is joined to a message: calls of packs, whose struct codes are the second, and texts."""
    lengths = "".join(f" + length_{n}" for n, kind in enumerate(kinds) if kind == TEXT)
    terms: list[str] = []
    codes: list[str] = []
    code, arguments = "ci{head}s", ['b"B"', f"length{lengths}", "head"]
    for n, kind in enumerate(kinds):
        if kind == TEXT:
            terms += [f"pack_{len(codes)}({', '.join([*arguments, f'length_{n}'])})", f"text_{n}"]
            codes.append(code + "i")
            code, arguments = "", []
        else:
            code += "i" + kind
            arguments += [str(Struct("!" + kind).size), f"value_{n}"]
    terms.append(f"pack_{len(codes)}({', '.join([*arguments, 'tail'])})")
    return terms, [*codes, code + "{tail}s"]


@lru_cache(maxsize=512)
def _compiled(kinds: tuple[str, ...]) -> tuple[CodeType, list[str]]:
    source, codes = bind_source(kinds)
    return compile(source, f"<bind of {', '.join(kinds)}>", "exec"), codes


def can_generate(kinds: Sequence[str | None]) -> bool:
    """Whether there is anything to gain, and all of it is of a kind that is known here."""
    return 0 < len(kinds) <= _MOST and all(kind in _CLASSES for kind in kinds)


def generate_bind(
    kinds: tuple[str, ...], length: int, head: bytes, tail: bytes, plain: Bind
) -> Bind:
    """What builds a whole message: `head` stands before the values, `tail` behind them.

    `length` is the message's own, without the values.
    """
    code, packs = _compiled(kinds)
    length += sum(4 + (0 if kind == TEXT else Struct("!" + kind).size) for kind in kinds)
    names: dict[str, Any] = {"plain": plain, "length": length, "head": head, "tail": tail}
    names["StructError"] = StructError
    for number, pack in enumerate(packs):
        sizes = {"head": len(head), "tail": len(tail)}
        names[f"pack_{number}"] = Struct("!" + pack.format(**sizes)).pack
    exec(code, names)
    bind: Bind = names["bind"]
    return bind
