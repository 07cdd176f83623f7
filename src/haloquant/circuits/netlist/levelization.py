"""Topological order of the gates of a netlist."""

from collections.abc import Sequence

from haloquant.circuits.netlist.builder import Gate
from haloquant.errors import NetlistError


def levelise(gates: Sequence[Gate]) -> tuple[list[Gate], list[int]]:
    """Sort gates by level. The level of a gate is the length of the longest chain of gates that leads to it.

    Returns:
        The sorted gates; the index of the first gate of each level, and at the end the number of gates.

    Raises:
        NetlistError: If gates form a combinational loop; the message names its gates.
    """
    driver = {net: g for g, gate in enumerate(gates) for net in gate.outputs}
    waiting = [len({net for net in gate.inputs if net in driver}) for gate in gates]
    readers: dict[int, list[int]] = {}
    for g, gate in enumerate(gates):
        for net in set(gate.inputs):
            readers.setdefault(net, []).append(g)
    level = [g for g, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    starts = [0]
    while level:
        order += level
        starts.append(len(order))
        following: list[int] = []
        for g in level:
            for net in gates[g].outputs:
                for reader in readers.get(net, []):
                    waiting[reader] -= 1
                    if waiting[reader] == 0:
                        following.append(reader)
        level = sorted(following)
    if len(order) < len(gates):
        raise NetlistError(f"the netlist must have no combinational loop, but has {_loop(gates, driver, set(order))}")
    return [gates[g] for g in order], starts


def _loop(gates: Sequence[Gate], driver: dict[int, int], settled: set[int]) -> str:
    """Return the names of the gates of a loop: follow the drivers of an unsorted gate until a gate repeats."""
    g = next(i for i in range(len(gates)) if i not in settled)
    seen: list[int] = []
    while g not in seen:
        seen.append(g)
        g = next(driver[net] for net in gates[g].inputs if net in driver and driver[net] not in settled)
    loop = [gates[i].name for i in [*seen[seen.index(g) :], g]][::-1]
    return " -> ".join(loop if len(loop) <= 12 else [*loop[:11], "..."])
