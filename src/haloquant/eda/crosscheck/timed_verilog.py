"""Writes the annotated netlist as Verilog with delays, so that another simulator can check our simulation.

Every gate becomes a module with a truth table. Delays of Verilog module paths depend on the output edge, but in Icarus
(which ignores COND of SDF) not on the state. So `without_conditions` first gives every pin its largest delay to each
output edge, and both simulators run with these delays. Icarus filters short pulses of module paths by its own rule
(`Filter.SAMPLED`). Its gate delays are inertial (`Filter.INERTIAL`) and do not depend on the pin, so for that
filter `without_pins` gives the gate its largest delay to each edge.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Int16, Int64

from haloquant.circuits.simulation.reference.constants import influential_pins, known_levels
from haloquant.circuits.simulation.timed_gates import TimedGates
from haloquant.circuits.simulation.waveforms import Filter
from haloquant.errors import NetlistError


def without_conditions(gates: TimedGates) -> TimedGates:
    """Return the gates with delays that depend only on pin and output edge: the largest over the minterms."""
    return _largest(gates, (2,))


def without_pins(gates: TimedGates) -> TimedGates:
    """Return the gates with delays that depend only on the output edge: the largest over pins and minterms."""
    return _largest(gates, (1, 2))


def _largest(gates: TimedGates, axes: tuple[int, ...]) -> TimedGates:
    delay = gates.delay_fs.copy()
    for g in range(len(gates.names)):
        pins = int(gates.pins[g])
        slots = slice(int(gates.slot[g]), int(gates.slot[g]) + (pins << pins))
        own = delay[:, slots].reshape(-1, pins, 1 << pins)
        value = np.array([int(gates.truth[g]) >> m & 1 for m in range(1 << pins)], bool)
        for edge in (value, ~value):
            if pins and edge.any():
                own[:, :, edge] = own[:, :, edge].max(axis=axes, keepdims=True)
        delay[:, slots] = own.reshape(delay.shape[0], -1)
    return replace(gates, delay_fs=delay)


def timed_verilog(gates: TimedGates, weight: int, filtering: Filter, module: str = "mac") -> str:
    """Write the netlist as one Verilog text, delays in fs.

    The module has the ports `a` and `r`, and `p` if there is a partial sum. Net 5 is the wire `n5`. The weight pins are
    constants inside. A pin that cannot change its gate's output for this weight gets no path, because it causes no edge
    in our simulation either.

    Args:
        gates: the result of `without_conditions` or `without_pins`.
        weight: index of the weight value.
        filtering: `SAMPLED` writes module paths, `INERTIAL` gate delays.
        module: name of the top module; the gates' modules are called `mac_0` and so on.

    Raises:
        NetlistError: If the netlist has registers.
    """
    if gates.register.any():
        raise NetlistError(f"a netlist to be written must have no registers, but has {int(gates.register.sum())}")
    known = known_levels(gates, weight)
    ports = f"input [{gates.activation.size - 1}:0] a, output [{gates.result.size - 1}:0] r"
    if gates.partial.size:
        ports += f", input [{gates.partial.size - 1}:0] p"
    levels = zip(gates.constant, gates.level[weight], strict=True)
    body = [
        f"wire {', '.join(f'n{net}' for net in range(gates.nets))};"
    ]  # single wires: a change of one bit of a vector would trigger all its readers
    body += [f"assign n{net} = 1'b{int(level)};" for net, level in levels]
    body += [f"assign n{net} = a[{i}];" for i, net in enumerate(gates.activation)]
    body += [f"assign n{net} = p[{i}];" for i, net in enumerate(gates.partial)]
    body += [f"assign r[{i}] = n{net};" for i, net in enumerate(gates.result)]
    modules: list[str] = []
    for g in range(len(gates.names)):
        pins = int(gates.pins[g])
        nets = ", ".join(f"n{net}" for net in [gates.output[g], *gates.inputs[g, :pins]])
        body.append(f"{module}_{g} g{g}({nets});")
        delays = _delays(gates, g, weight, influential_pins(gates, g, known))
        modules.append(_gate(f"{module}_{g}", pins, int(gates.truth[g]), delays, filtering))
    return "\n".join(["`timescale 1fs/1fs", *modules, f"module {module}({ports});", *body, "endmodule", ""])


def _delays(gates: TimedGates, g: int, weight: int, causes: list[bool]) -> dict[int, tuple[int, int]]:
    """Return the delays to the output's rise and fall, by pin."""
    pins, truth = int(gates.pins[g]), int(gates.truth[g])
    found: dict[int, tuple[int, int]] = {}
    for pin in range(pins):
        first = int(gates.slot[g]) + (pin << pins)
        own = gates.delay_fs[weight, first : first + (1 << pins)].tolist()
        if causes[pin]:
            rise = next(delay for m, delay in enumerate(own) if truth >> m & 1)
            found[pin] = (rise, next(delay for m, delay in enumerate(own) if not truth >> m & 1))
    return found


def _gate(name: str, pins: int, truth: int, delays: dict[int, tuple[int, int]], filtering: Filter) -> str:
    if not pins:
        return f"module {name}(output y); assign y = 1'b{truth & 1}; endmodule"
    inputs = ", ".join(f"i{pin}" for pin in range(pins))
    select = ", ".join(f"i{pin}" for pin in reversed(range(pins)))
    specify, gate_delay = "", ""
    if delays and filtering is Filter.SAMPLED:
        paths = " ".join(f"(i{pin} => y) = ({rise}, {fall});" for pin, (rise, fall) in delays.items())
        specify = f" specify {paths} endspecify"
    elif delays:
        rise, fall = next(iter(delays.values()))
        gate_delay = f" #({rise}, {fall})"
    table = f"wire [{(1 << pins) - 1}:0] t = {1 << pins}'h{truth:x};"
    return (
        f"module {name}(output y, input {inputs}); {table} assign{gate_delay} y = t[{{{select}}}];{specify} endmodule"
    )


def bench_verilog(gates: TimedGates, count: int, settle_fs: int, *, dump: bool = False) -> str:
    """Write a test bench for `timed_verilog` that runs `count` transitions.

    It reads `vectors.txt` (see `vectors`), settles the first state of each transition, switches, and writes a line to
    `arrivals.txt`: the time of the last edge of `r` after the switch (fs) and the final `r` (hexadecimal).

    Args:
        gates: the netlist.
        count: number of transitions.
        settle_fs: longer than any path.
        dump: also write every edge to `edges.vcd`.
    """
    activation, partial, result = gates.activation.size, gates.partial.size, gates.result.size
    width = activation + partial
    declare, connect, assign = "", "", "a = v[{0}];"
    if partial:
        declare, connect, assign = f"reg [{partial - 1}:0] p;", ", .p(p)", "{{p, a}} = v[{0}];"
    record = 'initial begin $dumpfile("edges.vcd"); $dumpvars(1, m); end' if dump else ""
    return f"""`timescale 1fs/1fs
module bench;
reg [{activation - 1}:0] a; {declare} wire [{result - 1}:0] r;
reg [{width - 1}:0] v [0:{2 * count - 1}];
integer i, file; time switched, last;
mac m(.a(a), .r(r){connect});
{record}
always @(r) last = $time;
initial begin
  $readmemh("vectors.txt", v);
  file = $fopen("arrivals.txt", "w");
  for (i = 0; i < {count}; i = i + 1) begin
    {assign.format("2 * i")}
    #{settle_fs} switched = $time; last = switched; {assign.format("2 * i + 1")}
    #{settle_fs} $fdisplay(file, "%0d %h", last - switched, r);
  end
  $fclose(file);
  $finish;
end
endmodule
"""


def vectors(
    gates: TimedGates,
    activation: tuple[Int16[np.ndarray, " n"], Int16[np.ndarray, " n"]],
    partial: tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]] | None = None,
) -> str:
    """Return `vectors.txt` of the test bench: the inputs before and after each transition, one hexadecimal number a
    line.
    """
    bits = gates.activation.size
    lines: list[str] = []
    for i in range(activation[0].size):
        for side in (0, 1):
            word = int(activation[side][i]) & ((1 << bits) - 1)
            if partial is not None:
                word |= (int(partial[side][i]) & ((1 << gates.partial.size) - 1)) << bits
            lines.append(f"{word:x}")
    return "\n".join([*lines, ""])
