"""Other limits for a scheduler that runs: every path, slot, entry and throttle's history stays.

In: the node's books and a new table. Out: the same books under the new limits, and which slots are too
many.

Theory: a path keeps its queue and its slots and takes its new shaping. Where a limit belongs to somebody
else than before (an override becomes shared, say), what the path has open or out moves along: its
connections to the new pool, its permits to the new throttle, which also counts what the old one has heard
of. Whoever waited at a gate asks again, in the order in which they stood. Connections beyond a smaller
limit are told to close when their transaction is over, and none is opened before enough of them have.

Invariant: from here on no limit of the new table is exceeded by anything that is granted or opened.
"""

import math
from collections.abc import Iterable

from outrider.schedule.node import Node
from outrider.schedule.paths import Gate, Meter, PathQueue, Pool, Slot
from outrider.schedule.rate import Rate
from outrider.schedule.shaping import Shaping, ShapingTable


def reshape(node: Node, table: ShapingTable, now: float) -> list[Slot]:
    """Take `table` over; gives the slots that have to close, as their limits have become smaller."""
    order = _leave_gates(node)
    node.table = table
    node.total.limit = table.options.outbound_connections
    pools: dict[str, Pool] = {}
    heirs: dict[Meter, dict[Meter, None]] = {}
    for state in node.paths.values():
        shaping = table.for_path(state.path)
        _move_connections(node, state, shaping, pools)
        state.meter = _move_permits(
            node, state.meter, shaping.message_key, shaping.message_rate, state.granted, heirs, now
        )
        state.connection_meter = _move_permits(
            node,
            state.connection_meter,
            shaping.connection_key,
            shaping.connection_rate,
            state.connecting,
            heirs,
            now,
        )
        state.shaping = shaping
        state.expire_time = -math.inf  # its entries are looked at again
        state.held_off_until = min(state.held_off_until, now + shaping.options.retry_interval_seconds)
    node.pools = pools
    for heir, others in heirs.items():
        heir.inherit(tuple(others), now)
    for meter in node.meters.values():
        if not meter.users:
            node.arm(meter, max(now, meter.idle_at()))
    for state in order:
        node.mark_ready(state)
    return _surplus(node)


def _leave_gates(node: Node) -> list[PathQueue]:
    """Nobody waits at a gate any more; gives all paths, those that waited first and in their order."""
    order: dict[PathQueue, None] = {}
    gates: list[Gate] = [node.total, *node.pools.values(), *node.meters.values()]
    for gate in gates:
        order.update(dict.fromkeys(gate.waiters))
        gate.waiters.clear()
    for state in node.paths.values():
        state.pool.waiters.clear()
        state.waits_permit = state.may_grant = state.may_open = False
        state.waits_open = None
        order[state] = None
    return [state for state in order if node.paths.get(state.path) is state]


def _move_connections(node: Node, state: PathQueue, shaping: Shaping, pools: dict[str, Pool]) -> None:
    """Count the path's connections where the new table says."""
    old, limit, key = state.pool, shaping.options.max_connections, shaping.pool_key
    if key is not None:
        pool = pools.get(key) or node.pools.get(key) or Pool(limit, shared=True)
        pools[key] = pool
    else:
        pool = Pool(limit, shared=False) if old.shared else old
    pool.limit = limit
    if pool is old:
        return
    state.pool = pool
    for _ in range(state.connected + state.lingering):
        old.give(state)
        pool.take(state)
    for slot in state.slots.values():
        if slot.closing and slot.connected:
            old.closing -= 1
            pool.closing += 1
        if old.idle.pop(slot.number, None) is not None or (slot.idle and slot.connected):
            pool.idle.update({slot.number: slot} if pool.shared else {})


def _move_permits(
    node: Node,
    old: Meter | None,
    key: str,
    rate: Rate | None,
    out: int,
    heirs: dict[Meter, dict[Meter, None]],
    now: float,
) -> Meter | None:
    """The throttle that the path uses now; `out` of its permits are out."""
    if old is not None and rate is not None and old.key == key:
        if old.rate != rate:
            old.reshape(rate, now)
        return old
    meter = None
    if rate is not None:
        is_new = key not in node.meters
        meter = node.meter_for(key, rate, now)
        meter.adopt(out)
        if old is not None and (is_new or meter in heirs):
            heirs.setdefault(meter, {})[old] = None
    if old is not None:
        old.leave(out)
        old.users -= 1
    return meter


def _surplus(node: Node) -> list[Slot]:
    """Slots that must go, those without work first."""
    chosen: dict[int, Slot] = {}
    members: dict[Pool, list[Slot]] = {}
    for state in node.paths.values():
        members.setdefault(state.pool, []).extend(state.slots.values())
    for pool, slots in members.items():
        chosen.update(_first_to_go(pool, slots, 0))
    going = len(chosen)
    rest = [slot for slot in node.slots.values() if slot.number not in chosen]
    chosen.update(_first_to_go(node.total, rest, going))
    return list(chosen.values())


def _first_to_go(pool: Pool, slots: Iterable[Slot], going: int) -> dict[int, Slot]:
    too_many = pool.used - pool.closing - going - pool.limit
    if too_many <= 0:
        return {}
    open_ones = [slot for slot in slots if slot.connected and not slot.closing]
    open_ones.sort(key=lambda slot: (not slot.idle, bool(slot.granted), slot.opened_at))
    return {slot.number: slot for slot in open_ones[:too_many]}
