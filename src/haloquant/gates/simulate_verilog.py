"""The simulated netlist as Verilog with its delays, for another simulator to judge ours by.

Every gate becomes a module of its own with a truth table and one `specify` path per pin. Verilog's paths know the output's
edge but (in Icarus, which ignores SDF's COND) no state, so `without_conditions` first gives every pin its largest delay to
each output edge; both simulators are then run on that.
"""

from dataclasses import replace

import numpy as np

from haloquant.gates.simulate_program import TimedGates, influential_pins, known_levels


def without_conditions(gates: TimedGates) -> TimedGates:
    """The same netlist with delays that depend on the pin and the output's edge only: the largest over the minterms."""
    delay = gates.delay_fs.copy()
    for g in range(len(gates.names)):
        pins = int(gates.pins[g])
        value = np.array([int(gates.truth[g]) >> m & 1 for m in range(1 << pins)], bool)
        own = delay[:, gates.slot[g] : gates.slot[g] + (pins << pins)].reshape(-1, pins, 1 << pins)
        for edge in (value, ~value):
            if edge.any():
                own[:, :, edge] = own[:, :, edge].max(axis=2, keepdims=True)
        delay[:, gates.slot[g] : gates.slot[g] + (pins << pins)] = own.reshape(delay.shape[0], -1)
    return replace(gates, delay_fs=delay)


def timed_verilog(gates: TimedGates, weight: int, module: str = "mac") -> str:
    """Write the netlist as one Verilog text, delays in fs.

    The module has the ports `a` and `r`, and `p` where there is a partial sum; the weight pins are held inside. A pin that
    cannot change its gate's output under this weight gets no path (it causes nothing in our simulation either).

    Args:
        gates: delays without conditions, see `without_conditions`.
        weight: index of the weight value.
        module: name of the top module; the gates' modules are called `module_0` and so on.
    """
    known = known_levels(gates, weight)
    ports = f"input [{gates.activation.size - 1}:0] a, output [{gates.result.size - 1}:0] r"
    if gates.partial.size:
        ports += f", input [{gates.partial.size - 1}:0] p"
    body = [f"wire {', '.join(f'n{net}' for net in range(gates.nets))};"]  # one vector would be woken whole by each bit
    body += [
        f"assign n{net} = 1'b{int(level)};" for net, level in zip(gates.constant, gates.level[weight], strict=True)
    ]
    body += [f"assign n{net} = a[{i}];" for i, net in enumerate(gates.activation)]
    body += [f"assign n{net} = p[{i}];" for i, net in enumerate(gates.partial)]
    body += [f"assign r[{i}] = n{net};" for i, net in enumerate(gates.result)]
    modules: list[str] = []
    for g in range(len(gates.names)):
        pins = int(gates.pins[g])
        nets = ", ".join(f"n{net}" for net in gates.inputs[g, :pins])
        body.append(f"{module}_{g} g{g}(n{gates.output[g]}{', ' if pins else ''}{nets});")
        modules.append(_gate(gates, g, weight, f"{module}_{g}", influential_pins(gates, g, known)))
    return "\n".join(["`timescale 1fs/1fs", *modules, f"module {module}({ports});", *body, "endmodule", ""])


def _gate(gates: TimedGates, g: int, weight: int, name: str, causes: list[bool]) -> str:
    pins, truth = int(gates.pins[g]), int(gates.truth[g])
    if not pins:
        return f"module {name}(output y); assign y = 1'b{truth & 1}; endmodule"
    inputs = [f"i{pin}" for pin in range(pins)]
    minterms = range(1 << pins)
    paths: list[str] = []
    for pin in range(pins):
        first = int(gates.slot[g]) + (pin << pins)
        rise = [int(gates.delay_fs[weight, first + m]) for m in minterms if truth >> m & 1]
        fall = [int(gates.delay_fs[weight, first + m]) for m in minterms if not truth >> m & 1]
        if causes[pin] and rise and fall:
            paths.append(f"(i{pin} => y) = ({rise[0]}, {fall[0]});")
    specify = f" specify {' '.join(paths)} endspecify" if paths else ""
    table = f"{1 << pins}'h{truth & ((1 << (1 << pins)) - 1):x}"
    select = "{" + ", ".join(reversed(inputs)) + "}"
    return (
        f"module {name}(output y, input {', '.join(inputs)}); wire [{(1 << pins) - 1}:0] t = {table};"
        f" assign y = t[{select}];{specify} endmodule"
    )
