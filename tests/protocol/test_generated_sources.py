"""The sources of generated row decoders, as they are for eyes."""

from __future__ import annotations

from pgwire.protocol.fused import fused_source, runs, single_source, step_codes, stepwise_source
from pgwire.protocol.generated import row_decoder_source


def test_the_fused_source() -> None:
    """The docstring of the module shows it; here it is whole."""
    assert fused_source(["i", "text", "q~"]) == (
        "def decode_rows(buffer, position, size, rows):\n"
        "    append = rows.append\n"
        "    last = size - 19\n"
        "    most, came = 2, len(rows)\n"
        "    while True:\n"
        "        if most < 64 and size - position >= 260 and (\n"
        "            buffer[position + 3] or buffer[position + 1 + buffer[position + 4]] == 68\n"
        "        ):\n"
        "            position = keyed(buffer, position, size, rows)\n"
        "        try:\n"
        "            while position <= last and buffer[position] == 68:\n"
        "                length, columns, length_0, value_0, length_1"
        " = run_0(buffer, position + 1)\n"
        "                end = position + 1 + length\n"
        "                if end > size or columns != 3 or length_0 != 4:\n"
        "                    break\n"
        "                at = position + 19\n"
        "                if length_1 >= 0:\n"
        "                    stop = at + length_1\n"
        "                    value_1 = buffer[at:stop].decode()\n"
        "                elif length_1 == -1:\n"
        "                    value_1 = None\n"
        "                    stop = at\n"
        "                else:\n"
        "                    break\n"
        "                length_2, value_2, = run_1(buffer, stop)\n"
        "                if length_2 != 8:\n"
        "                    break\n"
        "                stop += 12\n"
        "                try:\n"
        "                    value_2 = origin_2 + step_2 * value_2\n"
        "                except OverflowError:\n"
        "                    value_2 = convert_2(value_2)\n"
        "                if stop != end:\n"
        "                    break\n"
        "                append((value_0, value_1, value_2, ))\n"
        "                position = end\n"
        "        except StructError:\n"
        "            pass  # a row at the end of the buffer that is shorter than usual\n"
        "        except Exception as raised:\n"
        "            error = raised\n"
        "            break\n"
        "        if (\n"
        "            size - position < 7\n"
        "            or buffer[position] != 68\n"
        "            or position + int_at(buffer, position + 1)[0] >= size\n"
        "        ):\n"
        "            return position\n"
        "        most = 1 if len(rows) - came > 4 * most else min(2 * most, 64)\n"
        "        before = position\n"
        "        position = stepwise(buffer, position, size, rows, most)\n"
        "        if position == before:\n"
        "            return by_columns(buffer, position, size, rows)\n"
        "        came = len(rows)\n"
        "    try:\n"
        "        fail(error, buffer, position, size, rows)\n"
        "    finally:\n"
        "        del error\n"
    )


def test_the_source_for_a_row_of_its_own() -> None:
    assert single_source(["i", "text"]) == (
        "def decode_rows(buffer, position, size, rows):\n"
        "    error = None\n"
        "    try:\n"
        "        while True:\n"
        "            length, columns, length_0, value_0, length_1 = run_0(buffer, position + 1)\n"
        "            end = position + 1 + length\n"
        "            if buffer[position] != 68 or end >= size or buffer[end] == 68"
        " or columns != 2 or length_0 != 4:\n"
        "                break\n"
        "            at = position + 19\n"
        "            if length_1 >= 0:\n"
        "                stop = at + length_1\n"
        "                value_1 = buffer[at:stop].decode()\n"
        "            elif length_1 == -1:\n"
        "                value_1 = None\n"
        "                stop = at\n"
        "            else:\n"
        "                break\n"
        "            if stop != end:\n"
        "                break\n"
        "            rows.append((value_0, value_1, ))\n"
        "            return end\n"
        "    except StructError:\n"
        "        pass  # it has not come as a whole yet\n"
        "    except Exception as raised:\n"
        "        error = raised\n"
        "    if error is None:\n"
        "        return many(buffer, position, size, rows)\n"
        "    try:\n"
        "        fail(error, buffer, position, size, rows)\n"
        "    finally:\n"
        "        del error\n"
    )


def test_the_stepwise_source() -> None:
    kinds = ["i", "text", "q~"]
    assert step_codes(kinds) == {0: "ii", 2: "q"}
    assert stepwise_source(kinds) == (
        "def decode_rows(buffer, position, size, rows, most):\n"
        "    append = rows.append\n"
        "    last = size - 11\n"
        "    try:\n"
        "        for _ in range(most):\n"
        "            if position > last or buffer[position] != 68:\n"
        "                return position\n"
        "            length, columns, length_0 = run_0(buffer, position + 1)\n"
        "            end = position + 1 + length\n"
        "            if end > size or columns != 3:\n"
        "                return position\n"
        "            stop = position + 11\n"
        "            if length_0 == 4:\n"
        "                value_0, length_1 = value_of_0(buffer, stop)\n"
        "                stop += 8\n"
        "            elif length_0 == -1:\n"
        "                value_0 = None\n"
        "                length_1, = int_at(buffer, stop)\n"
        "                stop += 4\n"
        "            else:\n"
        "                return position\n"
        "            at = stop\n"
        "            if length_1 >= 0:\n"
        "                stop = at + length_1\n"
        "                value_1 = buffer[at:stop].decode()\n"
        "            elif length_1 == -1:\n"
        "                value_1 = None\n"
        "                stop = at\n"
        "            else:\n"
        "                return position\n"
        "            length_2, = int_at(buffer, stop)\n"
        "            stop += 4\n"
        "            if length_2 == 8:\n"
        "                value_2, = value_of_2(buffer, stop)\n"
        "                stop += 8\n"
        "                try:\n"
        "                    value_2 = origin_2 + step_2 * value_2\n"
        "                except OverflowError:\n"
        "                    value_2 = convert_2(value_2)\n"
        "            elif length_2 == -1:\n"
        "                value_2 = None\n"
        "            else:\n"
        "                return position\n"
        "            if stop != end:\n"
        "                return position\n"
        "            append((value_0, value_1, value_2, ))\n"
        "            position = end\n"
        "        return position\n"
        "    except Exception as raised:\n"
        "        error = raised\n"
        "    try:\n"
        "        fail(error, buffer, position, size, rows)\n"
        "    finally:\n"
        "        del error\n"
    )


def test_the_runs_of_fused_columns() -> None:
    kinds = ["q", "16s<", "text", "?", "other", "parsed", "h", "d"]
    assert codes_of(kinds) == ["iHiqi16si", "i?i", "i", "ihid"]
    assert codes_of(["i", "text", "q~"]) == ["iHiii", "iq"]
    assert codes_of([]) == ["iH"]
    assert codes_of(["text"]) == ["iHi"]


def codes_of(kinds: list[str]) -> list[str]:
    return [codes for codes, _, _ in runs(kinds)]


def test_only_rows_of_fixed_width_come_in_blocks() -> None:
    assert "block(" in fused_source(["i", "q~"])
    for kinds in ([], ["i", "text"], ["other"]):
        assert "block(" not in fused_source(kinds)


def test_the_source_that_goes_column_by_column() -> None:
    assert row_decoder_source(["i", "text", "other"]) == (
        "def decode_rows(buffer, position, size, rows):\n"
        "    append = rows.append\n"
        "    try:\n"
        "        while size - position >= 7 and buffer[position] == 68:\n"
        "            length, columns = head(buffer, position + 1)\n"
        "            end = position + 1 + length\n"
        "            if end > size:\n"
        "                return position\n"
        "            if columns != 3:\n"
        "                raise malformed_row()\n"
        "            at = position + 7\n"
        "            if at + 8 <= end and (pair := pair_0(buffer, at))[0] == 4:\n"
        "                value_0 = pair[1]\n"
        "                at += 8\n"
        "            else:\n"
        "                value_0, at = value(buffer, at, end, decode_0)\n"
        "            length = read_length(buffer, at)[0]\n"
        "            stop = at + 4 + length\n"
        "            if length >= 0 and stop <= end:\n"
        "                try:\n"
        "                    value_1 = buffer[at + 4 : stop].decode()\n"
        "                except UnicodeDecodeError:\n"
        "                    decode_1(buffer, at + 4, stop)  # has the words for it\n"
        "                at = stop\n"
        "            else:\n"
        "                value_1, at = value(buffer, at, end, decode_1)\n"
        "            value_2, at = value(buffer, at, end, decode_2)\n"
        "            if at != end:\n"
        "                raise malformed_row()\n"
        "            append((value_0, value_1, value_2, ))\n"
        "            position = end\n"
        "    except Exception as error:\n"
        "        column = bisect((12, 17, 27), error.__traceback__.tb_lineno)\n"
        "        blame(error, column, len(rows) + 1)\n"
        "        raise\n"
        "    return position\n"
    )
