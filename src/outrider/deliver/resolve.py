"""Which options of delivery hold for a path, and where each comes from.

In: the default, overrides, bindings, and the groups that these are members of. Out: the options of a path,
valid together.

Theory: `model.scopes`. A binding's own table is laid at the level of a binding, below overrides of that
level.

Invariant: whatever path is asked for, its options pass the checks of `DeliveryOptions`: every set of layers
that can meet on a path and could clash was tried when the configuration was read (`check`).
"""

from bisect import bisect_left
from collections.abc import Sequence

from outrider.deliver.binding_options import BindingOptions
from outrider.deliver.options import DeliveryOptions, DeliveryTable, options_of
from outrider.model.flow import Path
from outrider.model.scopes import ALL, Layer, Memberships, Scope, in_order, sources_of

CACHE_MAX = 10_000
# chosen: sites with a connection open or lately so; the cache is emptied when it is full

_CLASHING = frozenset({"tls", "auth_user", "password_file", "proxy", "proxy_user", "proxy_password_file"})
# the options that `DeliveryOptions` checks against one another; addresses only where a proxy is told them


class DeliveryResolver:
    """See the module.

    Args:
        table: Default and overrides.
        bindings: Sending identities.
        groups: Of which each binding is a member.
    """

    def __init__(
        self,
        table: DeliveryTable,
        bindings: Sequence[BindingOptions] = (),
        groups: Memberships | None = None,
    ) -> None:
        self.default = table.default
        self._overrides = in_order(override.layer(number) for number, override in enumerate(table.override))
        self._own = {binding.name: binding.layer() for binding in bindings}
        orders = [layer.scope.order for layer in self._overrides]
        self._own_at = bisect_left(orders, Scope(binding="each").order)
        self._groups = groups or {}
        self._cached: dict[tuple[str, str], DeliveryOptions] = {}

    def for_path(self, path: Path) -> DeliveryOptions:
        """The options of `path`; the same object each time."""
        key = (path.binding, path.site)
        options = self._cached.get(key)
        if options is None:
            options = self._resolve(path.site, path.binding)
            if len(self._cached) >= CACHE_MAX:
                self._cached.clear()
            self._cached[key] = options
        return options

    def sources(self, path: Path) -> dict[str, Layer]:
        """For each option of `path` that is not the default's, the layer that it comes from."""
        return self._sources(path.site, path.binding)

    def _sources(self, site: str, binding: str) -> dict[str, Layer]:
        layers: Sequence[Layer] = self._overrides
        own = self._own.get(binding)
        if own is not None:
            layers = (*layers[: self._own_at], own, *layers[self._own_at :])
        return sources_of(layers, self._groups.get(binding, ()), binding, site)

    def _resolve(self, site: str, binding: str) -> DeliveryOptions:
        sources = self._sources(site, binding)
        if not sources:
            return self.default
        values = self.default.model_dump()
        values.update((name, layer.values[name]) for name, layer in sources.items())
        return options_of(values)

    def _clashing_names(self) -> frozenset[str]:
        proxies = [layer.values.get("proxy", "") for layer in (*self._overrides, *self._own.values())]
        has_told = any(str(proxy).startswith("haproxy:") for proxy in (self.default.proxy, *proxies))
        return _CLASHING | {"source_addresses"} if has_told else _CLASHING

    def check(self) -> None:
        """Resolve every set of layers that can meet on a path and could clash.

        Raises:
            ValueError: One is not valid together; the message says what, and for which path.
        """
        names = self._clashing_names()
        clashing = [layer for layer in self._overrides if names & layer.values.keys()]
        sites = {layer.scope.site.replace(ALL, "any", 1) for layer in clashing}
        bindings = {layer.scope.binding.replace(ALL, "any", 1) for layer in clashing} | {"any"}
        bindings |= {name for name, layer in self._own.items() if names & layer.values.keys()}
        if any(layer.scope.binding.startswith("*.") for layer in clashing):
            bindings |= self._groups.keys() | self._own.keys()
        # of bindings that nothing else is said of, one stands for all that are in the same groups
        bindings |= set({tuple(groups): name for name, groups in self._groups.items()}.values())
        for binding in sorted(bindings):
            for site in sorted(sites | {"any"}):
                try:
                    self._resolve(site, binding)
                except ValueError as error:
                    raise ValueError(f"binding {binding}, site {site}: {error}") from None
