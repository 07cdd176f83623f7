import numpy as np

from haloquant.quant.layer import quantize_weight
from haloquant.quant.reference.layer_results import layer_result
from haloquant.quant.rivals import rtn
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.quant.transforms import awq, composition, input_scaling
from haloquant.records import Codebook, LayerStatistics, OperatingPoint


def situation():
    rng = np.random.default_rng(0)
    loud = np.exp(rng.normal(size=64) * 1.5)
    x = rng.normal(size=(300, 64)) * loud
    weight = (rng.normal(size=(32, 64)) * 0.1).astype(np.float32)
    known = LayerStatistics(
        layer="l",
        tokens=300,
        hessian=(2 / 300 * x.T @ x).astype(np.float32),
        input_absmean=np.abs(x).mean(0).astype(np.float32),
        input_absmax=np.abs(x).max(0).astype(np.float32),
        source="test",
    )
    return weight, x, known


def halo(weight, statistics):
    words = np.array([-128, -64, -32, -16, 0, 16, 32, 64, 96], np.int16)
    book = Codebook("fast", words, OperatingPoint(1.0, 1e9), 0.0)
    grid = make_grid(weight.shape[0], weight.shape[1], 16, 32)
    return layer_result(quantize_weight(weight, tiles=uniform_map("l", grid), codebooks=(book,), statistics=statistics))


def test_awq_composes_with_halo_and_lowers_its_output_error():
    weight, x, known = situation()
    plain = halo(weight, known)
    found = awq.scaling((weight,), (known,), lambda w, s: halo(w, s).weight, awq.AwqConfig(8), layer="l")
    scaled = composition.through(found, weight, known, halo)
    losses = [float((((r.weight - weight) @ x.T) ** 2).sum()) for r in (scaled, plain)]
    assert losses[0] < 0.9 * losses[1]
    assert scaled.bits == plain.bits
    assert set(np.unique(scaled.mac_values)) <= {-128, -64, -32, -16, 0, 16, 32, 64, 96}


def test_a_scale_of_one_is_the_method_itself():
    weight, _, known = situation()

    def method(w, s):
        return rtn.quantize(w, s, rtn.RtnConfig(4, 16), layer="l")

    one = input_scaling.InputScaling("none", np.ones(64, np.float32))
    same = composition.through(one, weight, known, method)
    assert same.weight.tobytes() == method(weight, known).weight.tobytes()
    assert same.notes == ("none: the inputs are divided by a scale, folded into the layer that makes them",)
