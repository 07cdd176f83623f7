"""Saved hidden states: where a stopped pass continues, and which older states are deleted."""

from pathlib import Path

import numpy as np

from haloquant.jobs.quantize.hidden_states import StoredStates
from haloquant.lm.checkpoint.linear_layers import LinearLayer
from haloquant.store.finished_steps import Steps


def layers(*blocks: int) -> list[LinearLayer]:
    return [LinearLayer(f"layer {block}", "weight", 4, 4, block, block) for block in blocks]


def stored(folder: Path) -> list[str]:
    return sorted(path.name.rsplit("-", 1)[0] for path in folder.iterdir())


def test_a_pass_continues_before_the_first_block_that_lacks_a_layer(tmp_path: Path) -> None:
    states = StoredStates(Steps(tmp_path, {}), "key", "measure tiles")
    for blocks in (1, 2, 3):
        states.save(blocks, np.full((1, 2, 3), blocks, np.float32), layers(1, 2, 3))
    found = states.resume(layers(2, 3))
    assert found is not None
    assert (found[0], float(found[1].max())) == (2, 2.0)
    assert states.resume(layers(0, 2)) is None
    assert StoredStates(Steps(tmp_path, {}), "other", "measure tiles").resume(layers(2)) is None


def test_states_that_no_unfinished_layer_needs_are_deleted(tmp_path: Path) -> None:
    states = StoredStates(Steps(tmp_path, {}), "key", "quantize")
    array = np.zeros((1, 2, 3), np.float32)
    states.save(1, array, layers(0, 1, 2))
    states.save(2, array, layers(1, 2))
    assert stored(tmp_path) == ["states-quantize-1", "states-quantize-2"]
    states.save(3, array, layers(2))
    assert stored(tmp_path) == ["states-quantize-2", "states-quantize-3"]
    states.delete_all()
    assert stored(tmp_path) == []
