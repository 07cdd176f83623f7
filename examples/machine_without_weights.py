"""What a 70B model would take on a machine, from its shape alone: HALO, FP16, W8A8, W4A8 and W3A8.

Usage: python examples/machine_without_weights.py [SHAPE] [TARGET]
"""

import sys

import haloquant

shape = sys.argv[1] if len(sys.argv) > 1 else "llama2-70b"
target = sys.argv[2] if len(sys.argv) > 2 else "tpuv4i_like"
found = haloquant.simulate(shape, target, fast_share=0.8)
for run in found.runs:
    simulation = run.simulation
    time_ms, energy_j = simulation.time_s * 1e3, simulation.total.total_energy_j
    print(f"{simulation.phase:8} {run.name:14} {time_ms:10.3f} ms {energy_j:9.3f} J")
