"""The parts of a decode step are those of the whole simulated pass, at every supply of a measured law."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.workload.prefill_decode import decode
from haloquant.errors import InfeasibleError
from haloquant.jobs.early_exit.block_costs import block_costs
from haloquant.jobs.machines.supply_law import measured_supply_law
from haloquant.jobs.machines.sweeps import deadline_runs
from haloquant.store.targets import read_systolic
from support.machine_models import LOADED, at_three_voltages
from support.near import near


def test_parts_add_up_to_the_pass_at_every_supply() -> None:
    machine, model = read_systolic("edge_lpddr5x"), at_three_voltages()
    model = replace(model, shape=replace(model.shape, layers=3))
    costs, law = block_costs(model, machine, 64)
    whole = deadline_runs(model, decode(model.shape, 64), machine, 1.0, 0.0)
    assert law == measured_supply_law(model.classes.profile, machine).source and law.startswith("measured: ")
    assert costs.blocks.shape == costs.keys.shape == (len(whole.candidates), 3, 2)
    for supply, (_, run) in enumerate(whole.candidates):
        assert costs.part(supply, 0, 3, 1) == near([run.time_s, run.total.total_energy_j])
        inputs = [x.cost for x in run.layers if x.layer.endswith((".1.self_attn.k_proj", ".1.self_attn.v_proj"))]
        assert len(inputs) == 2
        assert costs.keys[supply, 1] == near(
            [sum(x.total_time_s for x in inputs), sum(x.total_energy_j for x in inputs)]
        )
    assert (np.diff(costs.blocks[:, 1, 0]) >= -1e-15).all()  # a lower supply is never faster
    assert costs.switch.tolist() == [machine.transition.latency_s, machine.transition.energy_j]


def test_a_profile_without_measured_voltages_is_refused() -> None:
    with pytest.raises(
        InfeasibleError, match=r"^a V-f curve needs at least 3 voltages of one process and temperature,"
    ):
        block_costs(LOADED, read_systolic("edge_lpddr5x"), 64)
