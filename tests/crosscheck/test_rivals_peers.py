"""Our RTN and GPTQ against other people's: torch's fake quantization, torchao's primitives, llm-compressor's GPTQ.

The two libraries are no dependency of ours. `scripts/test-peers` installs them and runs this file.
"""

import numpy as np
import pytest

from haloquant.quant.rivals import gptq, rtn
from haloquant.quant.rounding import uniform_grid
from haloquant.records import LayerStatistics
from support.peers import peer

torch = pytest.importorskip("torch", reason="torch is not installed here")
pytestmark = pytest.mark.crosscheck

NONE = LayerStatistics("l", 0)


def weights(out=48, features=512, seed=0):
    return (np.random.default_rng(seed).standard_t(4, size=(out, features)) * 0.02).astype(np.float32)


def agree(ours, theirs, step):
    """Equal but for exact ties, which a division rounded the other way may move by one step."""
    miss = np.abs(ours - theirs) / step
    assert (miss > 1e-3).mean() < 1e-4
    assert miss.max() < 1.001


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_symmetric_rows_equal_torch_fake_quantization(bits):
    weight = weights()
    ours = rtn.quantize(weight, NONE, rtn.RtnConfig(bits, None, "symmetric"), layer="l")
    scale = uniform_grid.fit(weight, uniform_grid.GridSpec(bits, None, "symmetric")).scale[:, 0]
    top = 2 ** (bits - 1) - 1
    theirs = torch.fake_quantize_per_channel_affine(
        torch.tensor(weight), torch.tensor(scale), torch.zeros(len(scale), dtype=torch.int32), 0, -top, top
    )
    agree(ours.weight, theirs.numpy(), scale[:, None])


@pytest.mark.parametrize("bits", [3, 4])
def test_groups_equal_torch_fake_quantization(bits):
    weight = weights()
    ours = rtn.quantize(weight, NONE, rtn.RtnConfig(bits, 128), layer="l")
    fitted = uniform_grid.fit(weight, uniform_grid.GridSpec(bits, 128))
    theirs = torch.fake_quantize_per_channel_affine(
        torch.tensor(weight.reshape(-1, 128)),
        torch.tensor(fitted.scale.reshape(-1)),
        torch.tensor(fitted.zero.reshape(-1)).to(torch.int32),
        0,
        0,
        2**bits - 1,
    )
    agree(ours.weight, theirs.numpy().reshape(weight.shape), np.repeat(fitted.scale, 128, axis=1))


@pytest.fixture
def torchao():
    return peer("torchao.quantization.quant_primitives", "torchao")


@pytest.mark.parametrize(("bits", "scheme"), [(4, "asymmetric"), (3, "asymmetric"), (8, "symmetric")])
def test_ranges_codes_and_values_equal_torchao(torchao, bits, scheme):
    """Scales and zero points chosen by torchao, not by us; it rounds them to float16 as we do."""
    weight = weights()
    width = 128 if scheme == "asymmetric" else weight.shape[1]
    ours = rtn.quantize(weight, NONE, rtn.RtnConfig(bits, width, scheme), layer="l")
    spec = uniform_grid.GridSpec(bits, width, scheme)
    fitted = uniform_grid.fit(weight, spec)
    kind = torchao.MappingType.ASYMMETRIC if scheme == "asymmetric" else torchao.MappingType.SYMMETRIC
    block = (1, width)
    tensor = torch.tensor(weight)
    scale, zero = torchao.choose_qparams_affine(
        tensor, kind, block, torch.int8, spec.low, spec.high, scale_dtype=torch.float32, eps=1e-9
    )
    np.testing.assert_allclose(fitted.scale.reshape(-1), scale.numpy().reshape(-1), rtol=2.0**-10)
    half = scale.to(torch.float16).to(torch.float32)
    if scheme == "asymmetric":  # torchao takes the zero point of the unrounded scale: one apart at most, rarely
        assert (np.abs(fitted.zero.reshape(-1) - zero.numpy().reshape(-1)) > 0).mean() < 0.01
    zero = torch.tensor(fitted.zero).reshape(zero.shape).to(zero.dtype)
    code = torchao.quantize_affine(tensor, block, half, zero, torch.int8, spec.low, spec.high)
    theirs = torchao.dequantize_affine(code, block, half, zero, torch.int8, spec.low, spec.high)
    agree(ours.weight, theirs.numpy(), np.repeat(fitted.scale, width, axis=1))


@pytest.fixture
def compressor():
    return peer("llmcompressor.modifiers.gptq.gptq_quantize", "llm-compressor")


@pytest.mark.parametrize("order", ["natural", "activation"])
@pytest.mark.parametrize("bits", [3, 4])
def test_gptq_equals_llm_compressor(compressor, order, bits):
    from compressed_tensors.quantization import QuantizationArgs

    rng = np.random.default_rng(bits)
    weight = weights(16, 384)
    x = rng.normal(size=(900, 384)) @ (np.eye(384) + 0.1 * rng.normal(size=(384, 384)))
    hessian = (2 / 900 * x.T @ x).astype(np.float32)
    statistics = LayerStatistics("l", 900, hessian=hessian, source="test")
    ours = gptq.quantize(weight, statistics, gptq.GptqConfig(bits, 128, order=order), layer="l")
    fitted = uniform_grid.fit(weight, uniform_grid.GridSpec(bits, 128))
    arguments = QuantizationArgs(
        num_bits=bits,
        symmetric=False,
        strategy="group",
        group_size=128,
        actorder="weight" if order == "activation" else None,
    )
    theirs, _, fallback = compressor.quantize_weight(
        torch.tensor(weight)[None],
        torch.tensor(hessian)[None],
        torch.tensor(fitted.scale)[None],
        torch.tensor(fitted.zero - 2 ** (bits - 1))[None],  # its codes are signed
        None,
        arguments,
    )
    assert not bool(fallback.any())
    step = np.repeat(fitted.scale, 128, axis=1)
    miss = np.abs(ours.weight - theirs[0].numpy()) / step
    # A code at a tie within float32's noise takes the other side and moves what comes after it in its row; the rest of
    # the rows is equal code for code, and the loss is the same.
    assert (miss.max(axis=1) < 1e-2).mean() >= 0.8
    losses = [float((e @ hessian * e).sum()) for e in (ours.weight - weight, theirs[0].numpy() - weight)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
