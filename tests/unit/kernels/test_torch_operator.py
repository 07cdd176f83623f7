"""The product as an operator that torch.compile does not trace into."""

import pytest
import torch

from haloquant.kernels import dispatch
from haloquant.kernels.torch_operator import compiled_linear
from haloquant.quant.layer import resized
from support.halo_layers import with_offsets
from support.packed_layers import layer, tokens, view


@pytest.mark.parametrize(("sparse", "exponent", "offsets"), [(0, 0, 0), (0.05, 0, 0), (0.05, 40, 0), (0.05, 40, 1)])
def test_a_compiled_model_computes_the_same_without_a_break_in_its_graph(sparse, exponent, offsets) -> None:
    q = layer((130, 172, 128), "two", sparse)[0]
    packed = view(resized(with_offsets(q) if offsets else q, exponent))
    x = tokens(3, 172)
    compiled = torch.compile(lambda x: compiled_linear(x, packed) * 2, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), dispatch.linear(x, packed) * 2)
    rounded = torch.compile(lambda x: compiled_linear(x, packed, True), fullgraph=True, backend="eager")
    assert torch.equal(rounded(x), dispatch.rounded_linear(x, packed))
