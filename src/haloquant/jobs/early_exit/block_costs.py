"""What the blocks of one decode step cost on a machine, at each supply of a measured law."""

import re

import numpy as np

from haloquant.accel.results import LayerCost, Simulation
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import SCORES, decode
from haloquant.dvfs.sentence_deadline import BlockCosts
from haloquant.jobs.machines.supply_law import measured_supply_law
from haloquant.jobs.machines.sweeps import runs_by_supply
from haloquant.jobs.machines.systems import QuantizedModel

_BLOCK = re.compile(r"\.(\d+)\.")
# Layers before attention that make neither keys nor values.
_QUERIES = re.compile(r"(^|\.)(q_proj|q_a_proj|q_b_proj|wq|query)$")


def block_costs(model: QuantizedModel, target: Target, context_tokens: int) -> tuple[BlockCosts, str]:
    """Return the costs of a decode step of one sequence by block and supply, and where the law of supplies comes from.

    A skipped block costs the products that make keys and values. Where a block has them fused with the queries, the
    fused product is charged; where it has no attention, the whole block is, as its state must follow every token.

    Args:
        model: The model on its MAC.
        target: The machine.
        context_tokens: Tokens in the cache.

    Raises:
        InfeasibleError: The profile has fewer than three voltages.
    """
    law = measured_supply_law(model.classes.profile, target)
    _, runs = runs_by_supply(model, decode(model.shape, context_tokens), target, law)
    parts = [_parts(run, model.shape.layers) for run in runs]
    blocks, keys, head = (np.array([part[i] for part in parts]) for i in range(3))
    switch = np.array([target.transition.latency_s, target.transition.energy_j])
    return BlockCosts(blocks, keys, head, switch), law.source


def _parts(run: Simulation, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return time and energy of the blocks [blocks, 2], of their keys and values [blocks, 2], and of the head [2]."""
    by_block: list[list[LayerCost]] = [[] for _ in range(count)]
    head = np.zeros(2)
    for layer in run.layers:
        found = _BLOCK.search(layer.layer)
        if found is None:
            head += _cost(layer)
        else:
            by_block[int(found[1])].append(layer)
    blocks = [sum(map(_cost, layers), np.zeros(2)) for layers in by_block]
    keys = [sum(map(_cost, _keys_and_values(layers)), np.zeros(2)) for layers in by_block]
    return np.array(blocks), np.array(keys), head


def _keys_and_values(layers: list[LayerCost]) -> list[LayerCost]:
    """Return the layers of a block that make keys and values: those before its attention, without queries."""
    names = [layer.layer.rpartition(".")[2] for layer in layers]
    if SCORES not in names:
        return layers
    before = layers[: names.index(SCORES)]
    return [layer for layer in before if not _QUERIES.search(layer.layer)]


def _cost(layer: LayerCost) -> np.ndarray:
    return np.array([layer.cost.total_time_s, layer.cost.total_energy_j])
