"""Rows and parameters: the few kinds of values that policy sees, whatever the source.

In: what drivers give and scripts ask with. Out: `Rows`, a tuple of immutable rows; parameters that every
driver takes.

Theory: scripts in two languages read the rows, and Lua knows text and numbers only. So a value is text, a
whole number, a float, octets or None. Exact decimals become whole numbers where they are, else text (a float
would change them); dates and times become ISO 8601 text, structures JSON text, booleans 0 and 1.

Invariant: parameters that compare equal are sent alike, because results are cached by them: True and 1.0 are
sent as 1.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from outrider.store.sources.failures import SourceParameterError, SourceQueryError

Value = str | int | float | bytes | None
Parameters = tuple[Value, ...] | Mapping[str, Value]
"""By position, or by name."""

INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1
# what every source holds: a signed 64-bit number

_PLAIN: Final = frozenset({str, int, float, bytes, type(None)})
_ROW_OCTETS: Final = 100
_VALUE_OCTETS: Final = 60
# measured with sys.getsizeof: a row with its tuple, and the head of a text


class Row(Mapping[str, Value]):
    """One row: a mapping from column to value, in the order of the columns. It cannot be changed."""

    __slots__ = ("_index", "_values")

    def __init__(self, index: dict[str, int], values: tuple[Value, ...]) -> None:
        self._index = index
        self._values = values

    def __getitem__(self, column: str) -> Value:
        return self._values[self._index[column]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def at(self, position: int) -> Value:
        """The value of the column at `position`, from 0; also of columns whose names occur twice.

        Raises:
            IndexError: There is no such column.
        """
        return self._values[position]

    def __repr__(self) -> str:
        return f"Row({', '.join(self._index)})"  # values are often personal


Rows = tuple[Row, ...]


def rows_of(columns: Sequence[str], records: Iterable[Sequence[Any]]) -> Rows:
    """Rows of what a driver gave. Of columns with the same name, the last is found by it."""
    index = {name: place for place, name in enumerate(columns)}
    return tuple(Row(index, tuple(map(plain, record))) for record in records)


def row_of(values: Mapping[str, Any]) -> Row:
    """One row from a mapping."""
    return Row({name: place for place, name in enumerate(values)}, tuple(map(plain, values.values())))


def plain(value: Any) -> Value:
    """One value of a driver as policy sees it; see the module."""
    if type(value) in _PLAIN:
        return value  # type: ignore[no-any-return]
    match value:
        case bool():
            return int(value)
        case Decimal():
            exponent = value.as_tuple().exponent
            return int(value) if isinstance(exponent, int) and exponent >= 0 else str(value)
        case datetime():
            return value.isoformat(" ")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return _clock_text(value)
        case bytearray() | memoryview():
            return bytes(value)
        case list() | tuple() | dict():
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        case int() | float():
            return value + 0
        case _:
            return str(value)


def _clock_text(value: timedelta) -> str:
    """`-12:34:56` or `838:59:59.5`, as MySQL writes its TIME."""
    sign = "-" if value < timedelta() else ""
    value = abs(value)
    seconds = value.days * 86_400 + value.seconds
    fraction = f".{value.microseconds:06}" if value.microseconds else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}"


def octets_of(rows: Rows) -> int:
    """What rows take in memory, roughly."""
    total = 0
    for row in rows:
        total += _ROW_OCTETS
        for value in row._values:
            total += _VALUE_OCTETS + (len(value) if isinstance(value, str | bytes) else 0)
    return total


def parameter(value: Any, place: int | str) -> Value:
    """A parameter as every driver takes it.

    Args:
        value: What the script gave.
        place: Position from 1, or name; for the error.

    Raises:
        SourceQueryError: No source could take it.
    """
    match value:
        case None | bytes():
            return value
        case str():
            if not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise SourceParameterError(f"parameter {place} is no valid Unicode text") from None
            return value
        case bool():
            return int(value)
        case float():
            if not math.isfinite(value):
                raise SourceQueryError(f"parameter {place} is not a finite number")
            if value.is_integer() and INT_MIN <= value < INT_MAX:
                return int(value)
            return value
        case int():
            if not INT_MIN <= value <= INT_MAX:
                raise SourceQueryError(f"parameter {place} does not fit into 64 bits")
            return value
        case _:
            raise SourceQueryError(
                f"parameter {place} is a {type(value).__name__}; give text, a number, bytes or none"
            )
