"""What a worker knows of bindings when a member of a group is chosen: which are suspended, which are here.

In: the suspensions that the dispatcher tells of, options that suspend, and the sites that mail of a domain
was seen to go to. Out: `policy.bindings.Fitness`.

Theory: suspensions are for paths, and only the dispatcher knows the site of each domain. A worker knows it of
domains that it has delivered to; of another one it knows just what is suspended towards every site. So it may
choose a member that is suspended towards a site for the first mail to a domain of it, which then waits as any
mail of a suspended path does; nothing is lost, and the next one goes by another member.

Invariant: what it remembers is bounded.
"""

import math
from collections import OrderedDict

from outrider.base.clock import Clock
from outrider.deliver.resolve import DeliveryResolver
from outrider.model.dispatch import Suspended
from outrider.model.flow import Path
from outrider.model.scopes import ALL, matches
from outrider.net.listen import is_local_address
from outrider.schedule.shaping import ShapingTable

DOMAINS_MAX = 20_000
# chosen: about 200 octets each
ANSWERS_MAX = 20_000
# chosen: as above; they are found anew in microseconds
LOCAL_SECONDS = 10.0
# chosen: an address that comes or goes is seen by then, and asking the system costs 10 µs
CHANNEL = "smtp"


class BindingFitness:
    """See the module.

    Args:
        shaping: Options of paths, of which `suspended` counts.
        delivery: Addresses and proxies of bindings.
        clock: Time.
    """

    def __init__(self, shaping: ShapingTable, delivery: DeliveryResolver, clock: Clock) -> None:
        self._clock = clock
        self._sites: OrderedDict[str, str] = OrderedDict()
        self._suspended: list[tuple[str, str, float]] = []
        self._answers: dict[tuple[str, str], bool] = {}
        self._answers_until_time = math.inf
        self._local: dict[str, tuple[bool, float]] = {}
        self.reshape(shaping, delivery)

    def reshape(self, shaping: ShapingTable, delivery: DeliveryResolver) -> None:
        """Other options from now on."""
        self._shaping = shaping
        self._delivery = delivery
        self._answers.clear()
        self._local.clear()

    def told(self, message: Suspended) -> None:
        """These suspensions hold now, and no others."""
        self._suspended = [
            (binding, site, math.inf if until_time is None else until_time)
            for channel, binding, site, until_time in message.suspensions
            if matches(channel, CHANNEL)
        ]
        self._forget()

    def learned(self, domain: str, site: str) -> None:
        """Mail to a routing domain went to a site."""
        sites = self._sites
        if sites.get(domain) != site:
            sites[domain] = site
            if len(sites) > DOMAINS_MAX:
                sites.popitem(last=False)

    def is_suspended(self, binding: str, domain: str) -> bool:
        if self._clock.wall() >= self._answers_until_time:
            self._forget()
        key = (binding, self._sites.get(domain, ""))
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= ANSWERS_MAX:
                self._answers.clear()
            answer = self._answers[key] = self._is_suspended(*key)
        return answer

    def is_local(self, binding: str) -> bool:
        now = self._clock.now()
        known = self._local.get(binding)
        if known is None or known[1] <= now:
            known = self._local[binding] = (self._is_local(binding), now + LOCAL_SECONDS)
        return known[0]

    def _forget(self) -> None:
        now = self._clock.wall()
        self._suspended = [each for each in self._suspended if each[2] > now]
        self._answers.clear()
        self._answers_until_time = min((until for _, _, until in self._suspended), default=math.inf)

    def _is_suspended(self, binding: str, site: str) -> bool:
        if self._shaping.for_path(Path(CHANNEL, binding, site)).options.suspended:
            return True
        return any(
            matches(pattern, binding) and (sites == ALL or (site and matches(sites, site)))
            for pattern, sites, _ in self._suspended
        )

    def _is_local(self, binding: str) -> bool:
        options = self._delivery.for_path(Path(CHANNEL, binding, ""))
        if options.proxy or not options.source_addresses:
            return True
        return any(map(is_local_address, options.source_addresses))
