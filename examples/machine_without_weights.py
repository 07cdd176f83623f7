"""What a 70B model would take on a machine, from its shape alone: HALO beside FP16, W8A8, W4A8 and W3A8.

Usage: python examples/machine_without_weights.py [SHAPE] [TARGET]
"""

import sys

from haloquant.accel.workload.passes import decode, prefill
from haloquant.jobs.machines import systems
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_systolic

shape = sys.argv[1] if len(sys.argv) > 1 else "llama2-70b"
target = read_systolic(sys.argv[2] if len(sys.argv) > 2 else "tpuv4i_like")
loaded = systems.load_shape(shape, find_profile("default"), fast_share=0.8)
for workload in (prefill(loaded.shape, 2048), decode(loaded.shape, 2048)):
    halo = systems.halo_system(loaded, workload, target, "boost")
    for system in [*systems.rivals(loaded, workload, target), halo]:
        run = systems.run_system(system, workload, target, loaded)
        print(f"{workload.phase:8} {system.name:14} {run.time_s * 1e3:10.3f} ms {run.total.total_energy_j:9.3f} J")
