"""Says what holds for a path, and where each value comes from: its place, and the scope it is written for.

In: settings, the origin of each value by its name, and a path; or a domain, whose site is found. Out: plain
values, one row for each option of shaping and delivery.

Theory: the tables are asked that scheduler and deliverer ask, so what is shown is what happens. An option
that no override and no binding gives is the default's (scope `*::*`), which may be written too.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError, UnavailableError
from outrider.base.log import NullLog
from outrider.model.flow import Path
from outrider.model.route import RouteFailure
from outrider.model.scopes import Layer, Scope
from outrider.net.mx import MxResolver
from outrider.schedule.sites import SiteTable
from outrider.server.bindings import delivery_of, shaping_of
from outrider.server.catalogue import HIDDEN, option_of, toml_value
from outrider.server.resolvers import new_resolver
from outrider.server.settings import Settings
from outrider.server.sources import DEFAULT

GLOBAL = Scope()
# of what is in `default`
LIMITS = ("max_connections", "max_connection_rate", "max_message_rate")
# what an override with `shared` shares


def parse_path(text: str) -> Path:
    """`CHANNEL/BINDING/SITE`.

    Raises:
        ConfigError: It is none.
    """
    channel, _, rest = text.partition("/")
    binding, _, site = rest.partition("/")
    if not (channel and binding and site):
        raise ConfigError(
            f"{text!r} is no path: write CHANNEL/BINDING/SITE, as `outrider path list` shows it"
        )
    return Path(channel, binding, site)


def explain_path(settings: Settings, origins: Mapping[str, str], path: Path, clock: Clock) -> dict[str, Any]:
    """Everything that holds for `path`.

    Args:
        settings: What the values are.
        origins: Where values come from, by name; those that are not named are defaults.
        path: Which; its binding need not be one that is configured.
        clock: Says how old a binding is.
    """
    shaping = shaping_of(settings).for_path(path)
    delivery = delivery_of(settings)
    owners = {
        name: str(layer.scope) for name, layer in shaping.sources.items() if name in LIMITS and layer.shared
    }
    bindings = {binding.name: binding for binding in settings.binding}
    binding = bindings.get(path.binding)
    today = datetime.fromtimestamp(clock.wall(), UTC).date()
    return {
        "path": str(path),
        "channel": path.channel,
        "binding": path.binding,
        "site": path.site,
        "is_known": path.binding in settings.binding_names,
        "groups": list(settings.memberships.get(path.binding, ())),
        "age_days": binding.age_days(today) if binding is not None else None,
        "values": [
            *_rows("shaping", shaping.options, shaping.sources, origins, owners),
            *_rows("delivery", delivery.for_path(path), delivery.sources(path), origins, {}),
        ],
    }


def _rows(
    section: str,
    options: BaseModel,
    sources: Mapping[str, Layer],
    origins: Mapping[str, str],
    owners: Mapping[str, str],
) -> Sequence[dict[str, Any]]:
    rows = []
    for name, field in type(options).model_fields.items():
        layer = sources.get(name)
        scope = GLOBAL if layer is None else layer.scope
        place = f"{section}.default" if layer is None else layer.place
        value = getattr(options, name)
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        rows.append(
            {
                "section": section,
                "name": name,
                "value": HIDDEN if extra.get("secret") and value else toml_value(value),
                "unit": option_of(name, field).unit,
                "level": scope.level,
                "scope": str(scope),
                "option": f"{place}.{name}",
                "origin": origins.get(f"{place}.{name}", str(DEFAULT)),
                "shared_by": owners.get(name, ""),
            }
        )
    return rows


async def find_site(settings: Settings, domain: str, clock: Clock) -> str:
    """The site of a domain, by its routes and DNS.

    Raises:
        UnavailableError: It has none, or DNS does not say.
    """
    resolver = new_resolver(settings.net, clock)
    port = settings.shaping.default.smtp_port
    routes = MxResolver(resolver, settings.net, log=NullLog(), smtp_port=port)
    found = await routes.route(domain)
    if isinstance(found, RouteFailure):
        raise UnavailableError(f"{domain} has no site: {found.reply}; name the path instead")
    return SiteTable(settings.shaping.provider, 1, shaping_of(settings).is_separate).site_of(found)
