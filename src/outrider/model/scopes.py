"""For which paths an option holds, and which of several holds where more than one does.

In: layers, each with the scope that it is written for and the values that it gives. Out: for each option the
layer that it comes from.

Theory: a scope names a group of bindings, a binding and a site, each by a pattern. Most specific first:

    group::binding::site, binding::site, group::site, binding, group, site, global

A group together with a binding but without a site is a binding's scope, and comes before that of the binding
alone. Within one level an exact name beats a suffix and a longer suffix a shorter one: of the binding first,
then of the group, then of the site; of equals the later one wins. Each option is inherited for itself.

A binding may be a member of several groups; what is written for any of them holds for it.

Invariant: the answer depends on the layers and on the path's names only, never on what was asked before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

ALL: Final = "*"
Memberships = Mapping[str, Sequence[str]]
"""The groups of each binding that is a member of one."""

LEVELS: Final = (
    "global",
    "site",
    "group",
    "binding",
    "group::site",
    "binding::site",
    "group::binding::site",
)
"""From the most general to the most specific."""

_EXACT = 1000
# chosen: above the length of any pattern


def matches(pattern: str, name: str) -> bool:
    """True when `name` is what `pattern` says: `*`, `*.suffix`, or the name itself."""
    if pattern == ALL:
        return True
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    return name == pattern


def _rank(pattern: str) -> int:
    if pattern == ALL:
        return 0
    return len(pattern) if pattern.startswith("*.") else _EXACT


class Scope(NamedTuple):
    """What paths an option is written for.

    Attributes:
        group: Pattern of a group that the path's binding is a member of; `*` is any or none.
        binding: Pattern of the binding.
        site: Pattern of the site; `@` and a pattern is for domains that are queued for themselves.
    """

    group: str = ALL
    binding: str = ALL
    site: str = ALL

    def covers(self, groups: Sequence[str], binding: str, site: str) -> bool:
        """True when it holds for a binding that is a member of `groups`, towards `site`."""
        if not matches(self.binding, binding):
            return False
        if self.group != ALL and not any(matches(self.group, group) for group in groups):
            return False
        if self.site.startswith("@"):
            return site.startswith("@") and matches(self.site[1:], site[1:])
        return matches(self.site, site)

    @property
    def level(self) -> str:
        """One of `LEVELS`."""
        named = (self.group != ALL, self.binding != ALL, self.site != ALL)
        if named == (True, True, False):
            return "binding"
        parts = zip(("group", "binding", "site"), named, strict=True)
        return "::".join(part for part, is_named in parts if is_named) or "global"

    @property
    def order(self) -> tuple[int, int, int, int]:
        """Sorts scopes from the most general to the most specific."""
        site = _rank(self.site[1:]) * 2 if self.site.startswith("@") else _rank(self.site)
        return LEVELS.index(self.level), _rank(self.binding), _rank(self.group), site

    def __str__(self) -> str:
        tail = f"{self.binding}::{self.site}"
        return tail if self.group == ALL else f"{self.group}::{tail}"


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place of a configuration says.

    Attributes:
        scope: For which paths.
        values: Option → value.
        place: Dotted name of where it stands, as the configuration is explained: `shaping.override.3`.
        shared: Its throttles belong to it and to all who inherit them, instead of to each of those.
    """

    scope: Scope
    values: Mapping[str, object]
    place: str
    shared: bool = False


def in_order(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """From the most general to the most specific; equals in the order in which they are given."""
    return tuple(sorted(layers, key=lambda layer: layer.scope.order))


def sources_of(layers: Iterable[Layer], groups: Sequence[str], binding: str, site: str) -> dict[str, Layer]:
    """For each option that a layer gives to a path, the layer that it comes from.

    Args:
        layers: As `in_order` gives them.
        groups: Of which the binding is a member.
        binding: Of the path.
        site: Of the path.
    """
    found: dict[str, Layer] = {}
    for layer in layers:
        if layer.scope.covers(groups, binding, site):
            for name in layer.values:
                found[name] = layer
    return found
