"""How a worker's mail gets its binding: what chooses one, and the policies that need no script.

In: settings, and what is known of bindings (`binding_fitness`). Out: `Bindings` for scripts, the policy of
mail that no script decides, and that of our own reports.
"""

from random import Random

from outrider.base.clock import Clock
from outrider.base.log import Log
from outrider.deliver.resolve import DeliveryResolver
from outrider.model.binding import DEFAULT
from outrider.policy.bindings import Bindings
from outrider.policy.routing import RoutingPolicy
from outrider.policy.shared_turns import SharedTurns
from outrider.policy.signing import ConfiguredSigning
from outrider.policy.surroundings import shared_numbers
from outrider.schedule.shaping import ShapingTable
from outrider.server.binding_fitness import BindingFitness
from outrider.server.scripts import configured_signing
from outrider.server.settings import Settings


class WorkerRouting:
    """See the module.

    Attributes:
        fitness: What is known of bindings.
        policy: Of mail that no script decides.
        reporting: Of reports to senders: they go out by `default` where mail without a binding is refused,
            as nobody could hand them in again.
    """

    def __init__(
        self,
        settings: Settings,
        shaping: ShapingTable,
        delivery: DeliveryResolver,
        clock: Clock,
        rng: Random,
        log: Log,
    ) -> None:
        self._rng = rng
        self._turns = SharedTurns(shared_numbers, clock.wall, log)
        self.fitness = BindingFitness(shaping, delivery, clock)
        signing = configured_signing(settings, clock)
        self.policy = RoutingPolicy(self.bindings(settings), signing)
        self.reporting = RoutingPolicy(self.bindings(settings), signing, fallback=DEFAULT)

    def bindings(self, settings: Settings) -> Bindings:
        """What chooses the bindings of a configuration."""
        return Bindings(
            settings.binding_names,
            settings.binding_group,
            settings.policy.default_binding,
            self._rng,
            self.fitness,
            self._turns,
        )

    def reshape(
        self,
        settings: Settings,
        shaping: ShapingTable,
        delivery: DeliveryResolver,
        signing: ConfiguredSigning | None,
    ) -> None:
        """Another configuration, for mail that is decided from now on."""
        self.fitness.reshape(shaping, delivery)
        for policy in (self.policy, self.reporting):
            policy.bindings = self.bindings(settings)
            policy.signing = signing
