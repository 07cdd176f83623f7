"""Dot-product elements in other programs: Icarus Verilog runs drawn operands, OpenSTA times drawn mixtures of words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.logic_check import encode_partial_sums
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import activation_levels, added_constants, weight_pins, weight_values
from haloquant.circuits.rtl.dot_products import DotSpec, dot_ports, dot_specs, generate_dot
from haloquant.circuits.simulation.dot_products import drawn_mixtures
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.static_timing import analyze_timing, static_delays
from haloquant.eda.crosscheck.icarus import find_icarus, run_verilog
from haloquant.eda.crosscheck.opensta import PartialArrivals, case_delays, find_opensta, idle_arcs
from haloquant.errors import ToolError
from haloquant.store.cell_libraries import liberty_text
from support.draws import daily
from support.near import near

pytestmark = pytest.mark.crosscheck
VECTORS = 1000
CONDITIONS = Conditions(input_slew_s=30e-12, clock_slew_s=20e-12, output_load_f=4e-15, slews="enabled")


def hexadecimal(bits: np.ndarray) -> list[str]:
    return [f"{sum(int(bit) << i for i, bit in enumerate(row)):x}" for row in bits]


@pytest.mark.parametrize("name", ["booth4x4-dot", "onedigitx8-dot", "e2m1x16c4-dot", "int4mx8c4-dot"])
def test_elements_in_icarus(name: str) -> None:
    try:
        icarus = find_icarus()
    except ToolError as error:
        pytest.skip(str(error))
    spec, random = dot_specs()[name], np.random.default_rng(1)
    ports = dot_ports(spec)
    weight = random.choice(weight_values(ports), (VECTORS, spec.products))
    activation = random.integers(-128, 128, weight.shape)
    partial = random.integers(-(1 << 20), 1 << 20, VECTORS)
    wanted = (weight.astype(np.int64) * activation + added_constants(ports, weight)).sum(axis=1) + partial
    words = encode_partial_sums(partial, ports)[:, None] >> np.arange(ports.result_bits) & 1
    files = {
        "w.hex": hexadecimal(weight_pins(ports, weight)),
        "a.hex": hexadecimal(activation_levels(ports, activation)),
        "p.hex": hexadecimal(words),
        "y.hex": [f"{value % (1 << ports.sum_bits):x}" for value in wanted.tolist()],
    }
    bench = f"""
module bench;
  reg [{ports.weight_width - 1}:0] w[0:{VECTORS - 1}]; reg [{ports.activation_width - 1}:0] a[0:{VECTORS - 1}];
  reg [47:0] p[0:{VECTORS - 1}]; reg [23:0] y[0:{VECTORS - 1}], found; integer i, wrong; reg clk;
  reg [{ports.weight_width - 1}:0] weight; reg [{ports.activation_width - 1}:0] activation; reg [47:0] partial;
  wire [47:0] result;
  mac dut (.weight(weight), .activation(activation), .partial(partial), .clk(clk), .result(result));
  initial begin
    $readmemh("w.hex", w); $readmemh("a.hex", a); $readmemh("p.hex", p); $readmemh("y.hex", y); wrong = 0; clk = 0;
    for (i = 0; i < {VECTORS}; i = i + 1) begin
      weight = w[i]; activation = a[i]; partial = p[i]; #1; clk = 1; #1; clk = 0; #1; clk = 1; #1; clk = 0; #1;
      found = result[23:0] + result[47:24];
      if (found !== y[i] || result[24] !== 1'b0) wrong = wrong + 1;
    end
    $display("%0d wrong", wrong);
  end
endmodule
"""
    texts = {file: "\n".join(lines) + "\n" for file, lines in files.items()}
    said = run_verilog(icarus, {"mac.v": generate_dot(spec), "bench.v": bench, **texts}, 120.0)
    assert said["stdout"].strip() == "0 wrong"


MAPPED = [
    ("asap7/trim_asap7_rvt_tt", "nf", 250e-12),
    ("nangate45/nangate45_typ", "balance", 320e-12),
    ("sky130hd/sky130hd_tt_025C_1v80", "balance", 1200e-12),
]


@pytest.mark.data
@pytest.mark.thinned
@pytest.mark.parametrize(("name", "script", "period_s"), daily(MAPPED, MAPPED[:1]))
def test_mixtures_of_words_in_opensta(
    name: str, script: str, period_s: float, find_data: Callable[[str], Path]
) -> None:
    """Delays agree for drawn mixtures, and none is longer than the delay that the element's clock follows."""
    yosys = pytest.importorskip("haloquant.eda.yosys")
    file = find_data(f"liberty/{name}.lib.gz")
    spec = DotSpec("e2m1", 4)
    parts = {"accumulate": period_s}
    try:
        tool = find_opensta()[0]
        made = yosys.synthesize(generate_dot(spec), file, period_s, abc_script=script, partitions=parts)
    except ToolError as error:
        pytest.skip(str(error))
    text = liberty_text(file)
    library = parse_liberty(text, name)
    netlist: Netlist = parse_netlist(made.json_text, library, dot_ports(spec))
    mixtures = drawn_mixtures(weight_values(netlist.ports), spec.products)[:12]
    timing = analyze_timing(netlist, library, mixtures, CONDITIONS)
    at = netlist.result_net
    arrivals = PartialArrivals(
        np.maximum(timing.arrival_s[at, :, 0], 0.0), np.maximum(timing.slew_s[at, :, 0], CONDITIONS.input_slew_s)
    )
    judge = case_delays(tool, netlist, text, mixtures, CONDITIONS, partial=arrivals).delay_s
    ours = timing.delay_s
    assert (ours <= judge * (1 + 2e-5)).all() and (ours >= judge * 0.9).all()
    for i in np.flatnonzero(np.abs(ours / judge - 1) > 2e-5)[:4]:  # arcs that an exact look at a function excludes
        idle = idle_arcs(netlist, library, mixtures[i])
        told = case_delays(tool, netlist, text, mixtures[i : i + 1], CONDITIONS, idle, partial=arrivals).delay_s[0]
        assert ours[i] == near(told, rel=2e-5)
    assert (static_delays(netlist, library, None, CONDITIONS)[0] >= ours).all()
