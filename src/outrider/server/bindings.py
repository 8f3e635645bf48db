"""What a configuration says of bindings, put together for those who use it.

In: settings. Out: the tables of shaping and delivery, with the groups that each binding is a member of.
"""

from outrider.deliver.resolve import DeliveryResolver
from outrider.schedule.shaping import ShapingTable
from outrider.server.settings import Settings


def shaping_of(settings: Settings) -> ShapingTable:
    """Limits of each path."""
    return ShapingTable(settings.shaping, settings.memberships)


def delivery_of(settings: Settings) -> DeliveryResolver:
    """Options of delivery of each path."""
    return DeliveryResolver(settings.delivery, settings.binding, settings.memberships)
