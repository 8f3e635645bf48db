"""The line of each name in a TOML document, which `tomllib` does not tell.

In: the text of a document that `tomllib` has accepted. Out: for each key, table, element of an array and
element of an array of tables, by its location in the parsed document, the line where it stands.

Theory: TOML's statements are told apart by their first character; a value is skipped by its own first
character. Nothing is checked, since `tomllib` has; so a fault here could only name a wrong line.

Invariant: every location of the parsed document has a line, and no other location has one.

Standards: TOML 1.0.0.
"""

import tomllib
from bisect import bisect_right

Location = tuple[str | int, ...]

_BLANK = " \t"
_BARE_ENDS = ",]}\n#"


def places_of(text: str) -> dict[Location, int]:
    """Line numbers, from 1, by location."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.places


class _Scanner:
    """See the module."""

    def __init__(self, text: str) -> None:
        self.places: dict[Location, int] = {}
        self._text = text
        self._at = 0
        self._line_ends = [at for at, character in enumerate(text) if character == "\n"]
        self._tables: dict[Location, int] = {}  # arrays of tables → how many so far

    def document(self) -> None:
        table: Location = ()
        self._skip_lines()
        while self._at < len(self._text):
            line = self._line()
            if self._text.startswith("[[", self._at):
                self._at += 2
                *outer, last = self._keys()
                self._at += 2
                array = (*self._resolve(tuple(outer), line), last)
                index = self._tables.get(array, 0)
                self._tables[array] = index + 1
                self.places.setdefault(array, line)
                table = (*array, index)
                self.places[table] = line
            elif self._text[self._at] == "[":
                self._at += 1
                table = self._resolve(self._keys(), line)
                self._at += 1
            else:
                self._pair(table)
            self._skip_lines()

    def _line(self) -> int:
        return bisect_right(self._line_ends, self._at - 1) + 1

    def _resolve(self, keys: tuple[str, ...], line: int) -> Location:
        """The location that a header names: through an array of tables it means the latest element."""
        location: Location = ()
        for key in keys:
            location = (*location, key)
            self.places.setdefault(location, line)
            if location in self._tables:
                location = (*location, self._tables[location] - 1)
        return location

    def _skip_blank(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _BLANK:
            self._at += 1

    def _skip_lines(self) -> None:
        """Blanks, line ends and comments."""
        text = self._text
        while self._at < len(text):
            character = text[self._at]
            if character == "#":
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            elif character in " \t\r\n":
                self._at += 1
            else:
                return

    def _keys(self) -> tuple[str, ...]:
        """A dotted key, up to what follows it."""
        keys = []
        while True:
            self._skip_blank()
            start = self._at
            if self._text[start] in "\"'":
                self._string()
                [key] = tomllib.loads(f"{self._text[start : self._at]} = 0")
            else:
                while self._text[self._at].isalnum() or self._text[self._at] in "_-":
                    self._at += 1
                key = self._text[start : self._at]
            keys.append(key)
            self._skip_blank()
            if self._text[self._at] != ".":
                return tuple(keys)
            self._at += 1

    def _pair(self, table: Location) -> None:
        line = self._line()
        location = table
        for key in self._keys():
            location = (*location, key)
            self.places.setdefault(location, line)
        self._at += 1  # the equals sign
        self._skip_blank()
        self._value(location)

    def _value(self, location: Location) -> None:
        match self._text[self._at]:
            case '"' | "'":
                self._string()
            case "[":
                self._array(location)
            case "{":
                self._inline_table(location)
            case _:
                while self._at < len(self._text) and self._text[self._at] not in _BARE_ENDS:
                    self._at += 1

    def _array(self, location: Location) -> None:
        self._at += 1
        index = 0
        self._skip_lines()
        while self._text[self._at] != "]":
            element = (*location, index)
            self.places[element] = self._line()
            self._value(element)
            index += 1
            self._skip_lines()
            if self._text[self._at] == ",":
                self._at += 1
                self._skip_lines()
        self._at += 1

    def _inline_table(self, location: Location) -> None:
        self._at += 1
        self._skip_blank()
        while self._text[self._at] != "}":
            self._pair(location)
            self._skip_blank()
            if self._text[self._at] == ",":
                self._at += 1
                self._skip_blank()
        self._at += 1

    def _string(self) -> None:
        text = self._text
        quote = text[self._at]
        mark = quote * 3 if text.startswith(quote * 3, self._at) else quote
        self._at += len(mark)
        while not text.startswith(mark, self._at):
            self._at += 2 if quote == '"' and text[self._at] == "\\" else 1
        self._at += len(mark)
        if len(mark) > 1:  # up to two quotes may stand before the closing three
            while text.startswith(quote, self._at):
                self._at += 1
