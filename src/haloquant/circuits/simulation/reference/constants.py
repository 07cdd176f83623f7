"""Constant nets for one weight value, and the pins that can still change the output of a gate."""

from haloquant.circuits.simulation.timed_gates import TimedGates


def known_levels(gates: TimedGates, weight: int) -> dict[int, int]:
    """Return the levels of all nets that are constant for this weight, found gate by gate."""
    known = {int(net): int(level) for net, level in zip(gates.constant, gates.level[weight], strict=True)}
    for g in range(len(gates.names)):
        values = {int(gates.truth[g]) >> m & 1 for m in possible_minterms(gates, g, known)}
        if len(values) == 1:
            known[int(gates.output[g])] = values.pop()
    return known


def possible_minterms(gates: TimedGates, g: int, known: dict[int, int]) -> set[int]:
    """Return the minterms of a gate's inputs that agree with the constants."""
    nets = [int(net) for net in gates.inputs[g, : gates.pins[g]]]
    return {
        m
        for m in range(1 << len(nets))
        if all(known.get(net, m >> pin & 1) == m >> pin & 1 for pin, net in enumerate(nets))
    }


def influential_pins(gates: TimedGates, g: int, known: dict[int, int]) -> list[bool]:
    """Return for each pin of a gate whether it can change the output, given the constants."""
    possible, truth = possible_minterms(gates, g, known), int(gates.truth[g])
    return [
        any((truth >> m ^ truth >> (m ^ 1 << pin)) & 1 for m in possible if m ^ 1 << pin in possible)
        for pin in range(int(gates.pins[g]))
    ]
