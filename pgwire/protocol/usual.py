"""Usual answers, taken in one go: what operations would do message by message.

    BindComplete DataRow… CommandComplete ReadyForQuery
    BindComplete CommandComplete BindComplete CommandComplete …
    CommandComplete ReadyForQuery

It must do what the phase tables do, only faster, and leaves to them whatever is not as usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.protocol import backend
from pgwire.protocol.messages import TRANSACTION_STATUS, BackendMessage, TransactionStatus

if TYPE_CHECKING:
    from pgwire.protocol.many import QueryMany
    from pgwire.protocol.query import Query

# The beginnings of messages as they usually come.
_BOUND = b"2\0\0\0\x04"
_SHORT_TAG = b"C\0\0\0"
_READY = b"Z\0\0\0\x05"
_BOUND_LENGTH = len(_BOUND)
_BEFORE_TAG = len(_SHORT_TAG) + 1
_ENDS_BEHIND = 1 + len(_READY) + 1  # where ReadyForQuery ends, from the length of CommandComplete
_DATA_ROW = int(BackendMessage.DATA_ROW)
# The same few ends of answers come all the time: what they say, by their bytes.
_ends: dict[bytes, tuple[str, TransactionStatus]] = {}
_end_of = _ends.get
_MAX_ENDS = 1000
_LONGEST_END = 64


def take_answer(query: Query, buffer: bytes, position: int, size: int) -> int:
    """Takes as much of the answer as is there, each message whole; returns where it stopped."""
    start, position = position, position + _BOUND_LENGTH
    if buffer[start:position] != _BOUND:
        return start
    try:
        if buffer[position] == _DATA_ROW:
            position = query.on_rows(buffer, position, size)
        stop = position + buffer[position + 4] + _ENDS_BEHIND
        ending = buffer[position:stop]
        end = _end_of(ending) or _learned(ending, stop - position)
    except IndexError:  # the rest has not come yet
        end = None
    if end is not None:
        query.command_tag, query.session.transaction_status = end
        query.finish()
        return stop
    query.phase = query.EXECUTING
    return position


def end_of(buffer: bytes, position: int) -> tuple[str, TransactionStatus, int] | None:
    """What CommandComplete and ReadyForQuery say here, and where they end; None if not as usual."""
    try:
        stop = position + buffer[position + 4] + _ENDS_BEHIND
    except IndexError:
        return None
    ending = buffer[position:stop]
    end = _end_of(ending) or _learned(ending, stop - position)
    return None if end is None else (*end, stop)


def _learned(ending: bytes, size: int) -> tuple[str, TransactionStatus] | None:
    """The same of bytes that have not been met yet, if all `size` of them are there."""
    behind_tag = size - len(_READY) - 1
    status = TRANSACTION_STATUS.get(ending[-1])
    if len(ending) < size or status is None or not ending.startswith(_READY, behind_tag):
        return None
    if not ending.startswith(_SHORT_TAG):
        return None
    end = backend.parse_command_tag(ending, _BEFORE_TAG, behind_tag), status
    if len(_ends) < _MAX_ENDS and size < _LONGEST_END:
        _ends[ending] = end
    return end


def usual_record(buffer: bytes, start: int, end: int) -> bytes:
    """The answer to a record without rows, whose CommandComplete has its body there."""
    return _BOUND + buffer[start - 5 : end]


def take_records(many: QueryMany, buffer: bytes, position: int, size: int) -> int:
    """The answers to records that are all alike: BindComplete CommandComplete, again and again."""
    answer = many.usual_answer
    if many.phase is many.EXECUTING:
        rest = answer[len(_BOUND) :]
        if not rest or not buffer.startswith(rest, position):
            return position
        many.take_answers(1)
        position += len(rest)
    if not answer:
        return position
    count = min((size - position) // len(answer), many.unanswered)
    while count:
        if buffer.startswith(answer * count, position):
            many.take_answers(count)
            position += len(answer) * count
            count = min(count, (size - position) // len(answer), many.unanswered)
        else:
            count //= 2
    return position
