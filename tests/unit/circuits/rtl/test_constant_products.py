"""The Verilog of constant products, evaluated by Yosys."""

import re
from pathlib import Path

import numpy as np
import pytest

from haloquant.circuits.rtl.constant_products import TOP, constant_products
from haloquant.eda.yosys import find_yosys, run_script
from haloquant.errors import InputError

WEIGHTS = np.array([[-128, 127, 0, 3], [64, -64, 1, -1], [0, 0, 0, 0]], np.int16)


def test_every_sum_is_exact(tmp_path: Path) -> None:
    verilog = constant_products(WEIGHTS, 8)
    (tmp_path / "mac.v").write_text(verilog)
    inputs = np.array([[-128, -128, -128, -128], [127, -128, 127, 127], [-128, 127, 5, -7], [0, 0, 0, 1]])
    lines = [f"read_verilog mac.v\nprep -top {TOP}"]
    for x in inputs.tolist():
        given = " ".join(f"-set x{i} 8'd{value % 256}" for i, value in enumerate(x))
        lines.append(f"eval {given} -show y0 -show y1 -show y2")
    (tmp_path / "synth.ys").write_text("\n".join([*lines, ""]))
    said = run_script(find_yosys(), tmp_path, 120.0)
    found = [int(bits, 2) - (1 << len(bits)) * (bits[0] == "1") for bits in re.findall(r"= \d+'([01]+)\.", said)]
    assert found == (inputs @ WEIGHTS.T.astype(int)).ravel().tolist()


def test_bits_out_of_range_are_refused() -> None:
    for bits in (1, 17):
        with pytest.raises(InputError, match=f"activation_bits of a block must be 2 to 16, not {bits}"):
            constant_products(WEIGHTS, bits)
