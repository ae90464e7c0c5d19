"""Mapping: from the tuples of a result to what the caller wants its rows to be (`row=`).

`dict`, `tuple` and `Row` give those; any other class is called with keyword arguments, one for
each column; any other callable gets the `Row`. Whether a class takes these columns can be told
from the class and their names alone, so it is told before a row is made: columns that it does not
know, and fields without a column, are one `InterfaceError` that names both sides.

What a class takes is what its signature says: that is right for dataclasses, named tuples, attrs
and whatever else has an `__init__`. Only two kinds tell more than their signature does: models of
pydantic (aliases, and whether more is allowed) and typed dicts. They are known by their
attributes; nothing of them is imported. Must not know where rows come from.

The calls are generated, as `make(**dict(zip(names, row)))` takes two and a half times as long as
a call that is written out (1,000 rows of 5 columns into a dataclass, CPython 3.11: 0.87 ms against
0.35 ms; a comprehension written by hand: 0.34 ms). Into the source go only names that the class
has itself. `_call_plainly` is the plain twin, and what classes that take any name are served with.
So are dicts, by their number of columns: 0.18 ms for 1,000 rows of 6, `dict(zip(…))` takes 0.54.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from contextlib import suppress
from functools import lru_cache, partial
from inspect import Parameter, signature
from keyword import iskeyword
from operator import length_hint
from typing import TYPE_CHECKING, Any, NamedTuple, get_origin

from pgwire.errors import InterfaceError
from pgwire.pgtypes.row import Row, row_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Mapping = Callable[[Sequence[tuple[Any, ...]]], list[Any]]
    Calls = Callable[[Callable[..., Any], Iterator[tuple[Any, ...]]], list[Any]]

if sys.version_info >= (3, 14):
    # `signature` evaluates annotations unless told otherwise, and they may name what only type
    # checkers import. Names and kinds of parameters are all that is looked for.
    from annotationlib import Format

    signature = partial(signature, annotation_format=Format.STRING)

# Classes that are kept alive by what is remembered of them, at most.
_REMEMBERED = 256
_MOST_NAMES = 30  # in an error
# So many rows, of at most so many columns, are worth a function that is compiled for them.
_MANY, _FEW_COLUMNS = 32, 100


def check_callable(make: Any) -> None:
    """Refuse what cannot make rows, whatever the columns."""
    if not callable(make):
        shown = f"{type(make).__name__} {make!r}" if isinstance(make, str) else type(make).__name__
        raise InterfaceError(
            f"row must be a class, or a function that takes a Row, not {shown[:80]}"
        )


def check_row(make: Callable[..., Any], names: tuple[str, ...]) -> None:
    """Refuse what cannot make rows of these columns. Quick when asked again."""
    mapping(make, names)


def mapping(make: Callable[..., Any], names: tuple[str, ...]) -> Mapping:
    """What makes a list of rows from a result's tuples.

    Raises `InterfaceError` where these columns cannot become that. What the class itself raises
    later comes through as it is, with a note that says in which row, from 1.
    """
    check_callable(make)
    # `dict[str, Any]`, `Page[User]`: what they are of says what they take.
    origin = make if isinstance(make, type) else get_origin(make)
    if not isinstance(origin, type):
        # Not remembered: it may be new for every query, and there is nothing to find out.
        return _noting(_rows_into(row_class(names)), make)
    return (_remembered if isinstance(make, Hashable) else _class_mapping)(make, origin, names)


def _class_mapping(make: Any, kind: type, names: tuple[str, ...]) -> Mapping:
    if kind is tuple:
        return list
    if kind is dict:
        return partial(dicts, names)
    if kind is Row:
        made = row_class(names)  # `Row` alone knows no names
        return lambda rows: list(map(made, rows))
    shape = _shape(kind)
    _check(kind, shape, names)
    is_written_out = all(name in shape.accepted and _is_plain(name) for name in names)
    return _noting(_generate_calls(names) if is_written_out else _call_plainly(names), make)


_remembered = lru_cache(maxsize=_REMEMBERED)(_class_mapping)


# -------------------------------------------------------------------- what a class takes


class _Shape(NamedTuple):
    """What a class may be called with."""

    accepted: dict[str, str]  # the columns it takes, and the field that each is for
    required: Sequence[str]  # fields
    is_open: bool = False  # takes any other column as well


_ANYTHING = _Shape({}, (), is_open=True)


def _shape(kind: Any) -> _Shape:
    if hasattr(kind, "__pydantic_decorators__") and not _has_own_init(kind):
        return _shape_of_model(kind)
    if issubclass(kind, dict) and hasattr(kind, "__required_keys__"):
        return _shape_of_typed_dict(kind)
    if kind.__module__ == "builtins":  # some have a signature, some have none: no keywords
        raise _cannot(kind, f"it takes no keywords; use a function: {_function_for(kind)}")
    try:
        parameters = signature(kind).parameters.values()
    except Exception:
        # A class in C tells nothing; a `__signature__` or an `__annotate__` of its own may raise
        # anything. Such a class finds out for itself what does not fit.
        return _ANYTHING
    for parameter in parameters:
        if parameter.kind is Parameter.POSITIONAL_ONLY and parameter.default is Parameter.empty:
            raise _cannot(
                kind,
                f"it takes {parameter.name!r} by position only; "
                f"use a function: row=lambda row: {kind.__name__}(*row)",
            )
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return _Shape(
        {parameter.name: parameter.name for parameter in named},
        [parameter.name for parameter in named if parameter.default is Parameter.empty],
        any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters),
    )


def _shape_of_typed_dict(kind: Any) -> _Shape:
    annotations: dict[str, Any] = {}
    with suppress(Exception):  # since Python 3.14 they are evaluated here, which may fail
        annotations = kind.__annotations__
    keys = sorted(kind.__required_keys__ | kind.__optional_keys__)
    # Where annotations are strings (`from __future__ import annotations`) Python does not see
    # NotRequired, and has such a key among the required ones.
    required = [
        key
        for key in keys
        if key in kind.__required_keys__ and "NotRequired[" not in str(annotations.get(key))
    ]
    return _Shape(dict(zip(keys, keys, strict=True)), required)


def _function_for(kind: type) -> str:
    if kind in (list, set, frozenset):
        return f"row=lambda row: {kind.__name__}(row)"
    return f"row=lambda row: {kind.__name__}(row[0])"


def _has_own_init(kind: Any) -> bool:
    return getattr(kind, "__pydantic_custom_init__", False) is True


def _shape_of_model(kind: Any) -> _Shape:
    """A model or a dataclass of pydantic.

    pydantic ignores columns that it does not know unless told otherwise. Here they are refused
    unless it was told to ignore or allow them.
    """
    validators = kind.__pydantic_decorators__.model_validators.values()
    if any(validator.info.mode != "after" for validator in validators):
        return _ANYTHING  # who sees the columns before the model does may make others of them
    config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
    fields = getattr(kind, "__pydantic_fields__", None)
    if fields is None:  # before pydantic 2.10
        fields = kind.model_fields
    by_alias = config.get("validate_by_alias", True)
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    accepted: dict[str, str] = {}
    required = []
    for name, field in fields.items():
        if getattr(field, "init", None) is False:
            continue
        ways = _aliases(field.validation_alias) if by_alias else []
        if by_name or not ways:
            ways.append(name)
        accepted |= dict.fromkeys(ways, ways[0])
        if field.is_required():
            required.append(ways[0])
    return _Shape(accepted, required, config.get("extra") in ("allow", "ignore"))


def _aliases(alias: Any) -> list[str]:
    """An alias is a str, a path into what has the alias's name, or a choice of these."""
    if alias is None:
        return []
    choices = getattr(alias, "choices", [alias])
    return [choice if isinstance(choice, str) else choice.path[0] for choice in choices]


# -------------------------------------------------------------------- whether it fits


def _check(kind: type, shape: _Shape, names: tuple[str, ...]) -> None:
    if len(set(names)) < len(names):
        raise _cannot(
            kind,
            f"a column name is repeated ({', '.join(names)}); give each its own name with AS",
        )
    accepted = shape.accepted
    surplus = [] if shape.is_open else [name for name in names if name not in accepted]
    filled = {accepted.get(name) for name in names}
    missing = [field for field in shape.required if field not in filled]
    if not surplus and not missing:
        return
    told = []
    if surplus:
        told.append(f"it has no field for column{_listed(surplus)}{_nearest(surplus, shape)}")
    if missing:
        verb = "has" if len(missing) == 1 else "have"
        told.append(f"field{_listed(missing)} {verb} no column")
    fields = dict.fromkeys(accepted.values())
    raise _cannot(
        kind,
        f"{'; '.join(told)} (columns: {_enumerated(names)}; fields: {_enumerated(fields)})",
    )


def _cannot(kind: type, reason: str) -> InterfaceError:
    return InterfaceError(f"rows cannot become {kind.__name__}: {reason}")


def _listed(names: Sequence[str]) -> str:
    return f"{'s' * (len(names) > 1)} {_enumerated([repr(name) for name in names])}"


def _enumerated(names: Iterable[str]) -> str:
    names = list(names)
    if len(names) > _MOST_NAMES:
        names[_MOST_NAMES:] = [f"… {len(names) - _MOST_NAMES} more"]
    return ", ".join(names) or "none"


def _nearest(surplus: Sequence[str], shape: _Shape) -> str:
    """What to say behind the names of columns that nobody knows, if it is plain."""
    if len(surplus) > 1:
        return ""
    (name,) = surplus
    if name == "?column?":
        return ", which AS gives a name"
    # Imported here because only a mistake needs it.
    from difflib import get_close_matches

    known = {field.lower(): field for field in shape.accepted.values()}
    nearest = get_close_matches(name.lower(), known, n=1)
    return f" (did you mean {known[nearest[0]]!r}?)" if nearest else ""


# -------------------------------------------------------------------- the calls


def _noting(calls: Calls, make: Callable[..., Any]) -> Mapping:
    def map_rows(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        remaining = iter(rows)
        try:
            return calls(make, remaining)
        except Exception as error:
            with suppress(Exception):  # of an exception that takes no notes
                error.add_note(f"in row {len(rows) - length_hint(remaining)} of {len(rows)}")
            raise

    return map_rows


def _rows_into(made: type[Row]) -> Calls:
    return lambda make, rows: [make(made(row)) for row in rows]


def _call_plainly(names: tuple[str, ...]) -> Calls:
    """The plain twin of what `_generate_calls` makes."""
    return lambda make, rows: [make(**dict(zip(names, row, strict=True))) for row in rows]


def _is_plain(name: str) -> bool:
    """Whether it can be written as the name of an argument, and means itself there."""
    # Python takes other letters than ASCII's for those they are a variant of.
    return name.isascii() and name.isidentifier() and not (iskeyword(name) or name == "__debug__")


def dicts(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Every row as a dict; of a repeated name the last column wins."""
    if len(rows) < _MANY or not 0 < len(names) <= _FEW_COLUMNS:
        return [dict(zip(names, row, strict=True)) for row in rows]
    return _dicts_of(len(names))(rows, *names)


@lru_cache(maxsize=_FEW_COLUMNS)
def _dicts_of(columns: int) -> Callable[..., list[dict[str, Any]]]:
    """The same, written out for so many columns: a third of the time."""
    names = [f"n{number}" for number in range(columns)]
    values = [f"v{number}" for number in range(columns)]
    items = ", ".join(f"{name}: {value}" for name, value in zip(names, values, strict=True))
    source = f"lambda rows, {', '.join(names)}: [{{{items}}} for ({', '.join(values)},) in rows]"
    made: Callable[..., list[dict[str, Any]]] = eval(compile(source, "<dicts>", "eval"), {})
    return made


def _generate_calls(names: tuple[str, ...]) -> Calls:
    values = [f"v{number}" for number in range(len(names))]
    arguments = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
    unpacked = f"({', '.join(values)},)" if values else "_"
    source = f"lambda make, rows: [make({arguments}) for {unpacked} in rows]"
    calls: Calls = eval(compile(source, f"<calls with {', '.join(names)}>", "eval"), {})
    return calls
