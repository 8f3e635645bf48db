"""Where the configuration comes from: files, environment and flags, laid over one another.

In: the path of `outrider.toml`, the environment, overrides of the command line. Out: one tree of values,
and for each value where it comes from, with file and line.

Order, later ones win: `outrider.toml`; `conf.d/*.toml` beside it, in the order of their names; the
environment, where `OUTRIDER_SECTION__NAME=value` sets `section.name` (read as TOML where it can be, else
as text); `--set section.name=value`. Tables are merged. An array of tables is appended to (a listener in
`conf.d` is one more), everything else is replaced.

Invariant: every value of the tree has exactly one origin, the one that set it last.
Not here: what the values mean and whether they may be (configuration.py).
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outrider.base.errors import ConfigError
from outrider.server.toml_places import Location, places_of

ENVIRONMENT_PREFIX = "OUTRIDER_"
ENVIRONMENT_OWN = frozenset({"OUTRIDER_CONFIG", "OUTRIDER_PURE", "OUTRIDER_FAULTS"})
# read elsewhere: the file's own place, the pure scanner, injected faults of the crash tests
FOLDER = "conf.d"
_SERVER = re.compile(r"\s*\[\s*server\s*\]\s*(#.*)?")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    Attributes:
        kind: `default`, `file`, `environment` or `flag`.
        where: The file, the variable, or the option of the command line.
        line: In the file; 0 elsewhere.
    """

    kind: str
    where: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.where}:{self.line}" if self.line else self.where or self.kind


DEFAULT = Origin("default")
OriginOf = Callable[[Location], Origin]


@dataclass(slots=True)
class Sources:
    """All that was read, laid over one another.

    Attributes:
        data: The tree of values.
        origins: Origin of each value and table by its location in the tree.
        files: The files that were read, in order.
        faults: What could not be read, each with its place.
        needed: Options of `[server]` that alone are asked for: of a file that is not TOML they are read as
            far as they stand in lines of their own, and its fault is in `passed_over`. Empty: all.
        passed_over: Faults of files of which only that was read.
    """

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Location, Origin] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    needed: tuple[str, ...] = ()
    passed_over: list[str] = field(default_factory=list)

    def origin(self, location: Location) -> Origin:
        """Where the value at `location`, or the nearest table around it, was set."""
        for length in range(len(location), 0, -1):
            found = self.origins.get(location[:length])
            if found is not None:
                return found
        return DEFAULT

    def exact_origin(self, location: Location) -> Origin:
        """Where the very value at `location` was set; the default where nothing sets it."""
        return self.origins.get(location, DEFAULT)

    def add_file(self, path: Path) -> None:
        """Lay a file over what is there."""
        self.files.append(path)
        try:
            text = path.read_text("utf-8")
            data = tomllib.loads(text)
        except FileNotFoundError:
            self.faults.append(
                f"{path} does not exist; name one by -c or OUTRIDER_CONFIG, or let `outrider init` write it"
            )
        except PermissionError:
            self.faults.append(
                f"{path} may not be read by this user: give it to the group of the server's user"
            )
        except OSError as error:
            self.faults.append(f"{path} cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self.faults.append(f"{path} is not UTF-8: {error.reason} at octet {error.start}")
        except (tomllib.TOMLDecodeError, RecursionError) as error:  # the library recurses into nested arrays
            self._pick(path, text, f"{path} is not TOML: {error}")
        else:
            try:
                places = places_of(text)
                self._merge((), self.data, data, lambda at: Origin("file", str(path), places[at]), ())
            except RecursionError:
                self.faults.append(f"{path} cannot be read: its arrays or tables are nested too deeply")

    def _pick(self, path: Path, text: str, fault: str) -> None:
        """Take from a file that is not TOML the options that are needed, or have the fault be one."""
        found = _lines_of_server(text, self.needed) if self.needed else None
        if found is None:
            self.faults.append(fault)
        else:
            self.passed_over.append(fault)
            self._merge((), self.data, {"server": found}, lambda _at: Origin("file", str(path)), ())

    def add_environment(self, environment: Mapping[str, str]) -> None:
        """Lay the variables that name options over what is there."""
        for name, text in sorted(environment.items()):
            if not name.startswith(ENVIRONMENT_PREFIX) or name in ENVIRONMENT_OWN:
                continue
            keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            if len(keys) > 1:
                self._set(keys, value_of(text), Origin("environment", name))

    def add_overrides(self, overrides: Mapping[str, Any]) -> None:
        """Lay the command line's options over what is there."""
        for dotted, value in overrides.items():
            self._set(dotted.split("."), value, Origin("flag", f"--set {dotted}"))

    def _set(self, keys: list[str], value: Any, origin: Origin) -> None:
        """Set one value; an element of an array of tables is named by its `name` or its number from 0."""
        node: Any = self.data
        location: Location = ()
        for key in keys[:-1]:
            if isinstance(node, list) and (index := _index_in(node, key)) is not None:
                node, location = node[index], (*location, index)
            elif isinstance(node, dict):
                node, location = node.setdefault(key, {}), (*location, key)
                self.origins.setdefault(location, origin)
            else:
                break
        else:
            if isinstance(node, dict):
                self._merge(location, node, {keys[-1]: value}, lambda _at: origin, ())
                return
        known = "a list; name an element, by its name or number" if isinstance(node, list) else "a value"
        self.faults.append(f"{origin}: {'.'.join(keys)} cannot be set: {location[-1]} is {known}")

    def _merge(
        self,
        location: Location,
        node: dict[str, Any],
        new: Mapping[str, Any],
        origin_of: OriginOf,
        source: Location,
    ) -> None:
        """Lay `new` over `node`.

        Args:
            location: Of `node` in the tree.
            node: Changed.
            new: What comes over it.
            origin_of: Origin by the location in what `new` is a part of.
            source: Location of `new` there.
        """
        for key, value in new.items():
            here, there = (*location, key), (*source, key)
            old = node.get(key)
            if isinstance(value, dict) and isinstance(old, dict):
                self._merge(here, old, value, origin_of, there)
            elif isinstance(old, list) and _is_tables(value) and _is_tables(old):
                for index, table in enumerate(value):
                    self._put(node[key], (*here, len(old)), table, origin_of, (*there, index))
            else:
                for known in [known for known in self.origins if known[: len(here)] == here]:
                    del self.origins[known]
                self._put(node, here, value, origin_of, there)

    def _put(self, node: Any, location: Location, value: Any, origin_of: OriginOf, source: Location) -> None:
        """Put `value` at `location`, the last step of which is in `node`."""
        self.origins[location] = origin_of(source)
        if isinstance(value, dict):
            inner: Any = {}
            for key, each in value.items():
                self._put(inner, (*location, key), each, origin_of, (*source, key))
        elif isinstance(value, list):
            inner = []
            for index, each in enumerate(value):
                self._put(inner, (*location, index), each, origin_of, (*source, index))
        else:
            inner = value
        if isinstance(node, list):
            node.append(inner)
        else:
            node[location[-1]] = inner


def read_sources(
    path: Path | None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    needed: tuple[str, ...] = (),
) -> Sources:
    """Everything, in order; where only some options are needed, see `Sources.needed`.

    Raises:
        ConfigError: A source cannot be read; every such fault at once.
    """
    sources = Sources(needed=needed)
    if path is not None:
        sources.add_file(path)
        for extra in sorted((path.parent / FOLDER).glob("*.toml")):
            sources.add_file(extra)
    sources.add_environment(environment or {})
    sources.add_overrides(overrides or {})
    if sources.faults:
        if len(sources.faults) == 1:
            raise ConfigError(sources.faults[0])
        raise ConfigError(f"{len(sources.faults)} faults in the configuration", tuple(sources.faults))
    return sources


def _lines_of_server(text: str, names: tuple[str, ...]) -> dict[str, Any] | None:
    """Options of the section `[server]` by name, each in a line of its own; None where there is none."""
    lines = text.splitlines()
    begin = next((number for number, line in enumerate(lines) if _SERVER.fullmatch(line)), None)
    if begin is None:
        return None
    found: dict[str, Any] = {}
    for line in lines[begin + 1 :]:
        if line.lstrip().startswith("["):
            break
        if line.partition("=")[0].strip() in names:
            try:
                found |= tomllib.loads(line)
            except tomllib.TOMLDecodeError:
                return None
    return found


def value_of(text: str) -> Any:
    """The value that `text` is in TOML, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _is_tables(value: Any) -> bool:
    """True for an array of tables."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _index_in(tables: list[Any], name: str) -> int | None:
    """The element that `name` names: by its `name`, else by its number."""
    for index, table in enumerate(tables):
        if isinstance(table, dict) and table.get("name") == name:
            return index
    is_there = name.isascii() and name.isdigit() and int(name) < len(tables)
    return int(name) if is_there and isinstance(tables[int(name)], dict) else None
