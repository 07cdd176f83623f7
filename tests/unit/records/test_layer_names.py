"""The one table of layer names: a checkpoint's reader and a workload made from shapes agree on it."""

import pytest

from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import prefill
from haloquant.lm.checkpoint.architectures import Place, place_linear
from haloquant.records.layer_names import BLOCK_LAYERS, LLAMA


@pytest.mark.parametrize("family", sorted(BLOCK_LAYERS))
def test_every_layer_of_the_table_is_placed_in_its_role(family: str) -> None:
    for role, names in enumerate(BLOCK_LAYERS[family].roles):
        assert [place_linear(f"model.layers.3.{name}", family) for name in names] == [Place(3, role)] * len(names)


@pytest.mark.parametrize(("model", "family"), [("llama2-7b", "llama"), ("opt-1.3b", "opt")])
def test_a_workload_s_layers_are_those_of_a_checkpoint_of_the_family(model: str, family: str) -> None:
    gemms = [gemm for gemm in prefill(named_shape(model), 4, attention=False).gemms if gemm.group < 4]
    assert [place_linear(gemm.layer, family) for gemm in gemms] == [Place(0, gemm.group) for gemm in gemms]


def test_a_name_outside_the_table_runs_after_it() -> None:
    assert place_linear("model.layers.0.mlp.fc2", "llama") == Place(0, len(LLAMA.roles) + 4)
