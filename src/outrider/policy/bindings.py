"""Which binding a recipient's mail gets: the one that policy names, a member of its group, or the default.

In: a name, and the domain that the mail goes to. Out: a binding.

Theory: a member is chosen when policy decides, so the entry is written once, with the binding that it has,
and every process and event after that knows one binding. Mail keeps it: a member that is suspended later
keeps what it has, as any path does.

Members are sorted by how fit they are: of this host and not suspended, not suspended, all. The choice is
made among the fittest that there are, in the group's order. Where all are suspended mail is taken all the
same and waits.

Invariant: with round robin, each of the members that stay the fittest is chosen once in as many choices as
there are of them, over all that share the turns.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from random import Random
from typing import Protocol

from outrider.model.binding import DEFAULT, NONE
from outrider.policy.group_options import BindingGroupOptions

DRAWS_MAX = 4
# chosen: where fewer than half of a group are fit, looking at all of it is not much more
_LEAST = 2
# what `_rank` says of a suspended member


class Fitness(Protocol):
    """What is known of bindings now."""

    def is_suspended(self, binding: str, domain: str) -> bool:
        """True when mail of a binding to a routing domain would have to wait."""
        ...

    def is_local(self, binding: str) -> bool:
        """True when this host can send with it."""
        ...


class Fit:
    """`Fitness` where nothing is known: every binding is fit."""

    def is_suspended(self, binding: str, domain: str) -> bool:  # noqa: ARG002 - the port's shape
        return False

    def is_local(self, binding: str) -> bool:  # noqa: ARG002 - the port's shape
        return True


class Turns(Protocol):
    """Where the rounds of groups are."""

    def take(self, group: str, step: Callable[[int], int]) -> None:
        """Have `step` make the group's next turn, 0 and up, of the one that it is; before this returns."""
        ...


class OwnTurns:
    """`Turns` of whoever has them."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}

    def take(self, group: str, step: Callable[[int], int]) -> None:
        self._turns[group] = step(self._turns.get(group, 0))


class _Group:
    """A group."""

    __slots__ = ("members", "name", "order", "sums", "weights")

    def __init__(self, options: BindingGroupOptions) -> None:
        self.name = options.name
        self.order = options.order
        self.members = tuple(member.binding for member in options.members)
        self.weights = tuple(member.weight for member in options.members)
        self.sums = tuple(accumulate(self.weights))


class Bindings:
    """See the module.

    Args:
        names: Bindings that there are.
        groups: Groups of them.
        default: Binding or group of mail to which nothing is assigned; `none` is neither.
        rng: For groups in random order.
        fitness: What is known of bindings now.
        turns: For groups in round robin.

    Attributes:
        initial: The binding of mail to which nothing is assigned, where it is not a group's; else empty.
    """

    __slots__ = ("_default", "_fitness", "_groups", "_names", "_rng", "_turns", "initial")

    def __init__(
        self,
        names: Collection[str] = (DEFAULT,),
        groups: Sequence[BindingGroupOptions] = (),
        default: str = DEFAULT,
        rng: Random | None = None,
        fitness: Fitness | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._names = frozenset(names)
        self._groups = {options.name: _Group(options) for options in groups}
        self._default = default
        self._rng = rng or Random(0)  # noqa: S311 - spreads mail; who wants another seed passes it
        self._fitness = fitness or Fit()
        self._turns = turns or OwnTurns()
        self.initial = default if default in self._names else ""

    def is_group(self, name: str) -> bool:
        """True for a group."""
        return name in self._groups

    def members(self, group: str) -> frozenset[str]:
        """The bindings that a group chooses from."""
        return frozenset(self._groups[group].members)

    def __contains__(self, name: str) -> bool:
        return name in self._names or name in self._groups

    def choose(self, name: str, domain: str) -> tuple[str, str] | None:
        """The binding that `name` means for mail to a routing domain, and the group that it is chosen from.

        The group is empty where there is none; None where neither a binding nor a group has that name.
        """
        if name in self._names:
            return name, ""
        group = self._groups.get(name)
        return None if group is None else (self._member(group, domain), name)

    def choose_default(self, domain: str) -> tuple[str, str] | None:
        """Binding and group of mail to which nothing is assigned; None where it may not go without."""
        return None if self._default == NONE else self.choose(self._default, domain)

    def _member(self, group: _Group, domain: str) -> str:
        return (self._in_turn if group.order == "round_robin" else self._by_chance)(group, domain)

    def _in_turn(self, group: _Group, domain: str) -> str:
        """The fittest member from the one whose turn it is on; the turn is then the next one's."""
        members = group.members
        chosen = 0

        def step(turn: int) -> int:
            nonlocal chosen
            best = _LEAST + 1
            for at in range(turn, turn + len(members)):
                rank = self._rank(members[at % len(members)], domain)
                if rank < best:
                    best, chosen = rank, at % len(members)
                    if rank == 0:
                        break
            return (chosen + 1) % len(members)

        self._turns.take(group.name, step)
        return members[chosen]

    def _by_chance(self, group: _Group, domain: str) -> str:
        """One of the fittest members, by their weights.

        Drawing again until a fit one is drawn gives each its share, without a look at all of a large group.
        """
        members = group.members
        for _ in range(DRAWS_MAX):
            [drawn] = self._rng.choices(members, cum_weights=group.sums)
            if self._rank(drawn, domain) == 0:
                return drawn
        ranks = [self._rank(member, domain) for member in members]
        best = min(ranks)
        fit = [at for at, rank in enumerate(ranks) if rank == best]
        [at] = self._rng.choices(fit, [group.weights[at] for at in fit])
        return members[at]

    def _rank(self, binding: str, domain: str) -> int:
        if self._fitness.is_suspended(binding, domain):
            return _LEAST
        return 0 if self._fitness.is_local(binding) else 1
