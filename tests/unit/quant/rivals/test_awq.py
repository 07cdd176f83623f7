"""AWQ as a rival."""

from haloquant.quant.rivals import awq as awq_rival
from haloquant.quant.rivals import rtn
from support.calibrated_layer import scaled_inputs_layer


def test_query_and_key_projections_are_not_clipped():
    weight, _, statistics = scaled_inputs_layer()
    config = awq_rival.AwqLayerConfig(3, 16)
    value = awq_rival.quantize(weight, statistics, config, layer="model.layers.0.self_attn.v_proj")
    for name in ("q_proj", "k_proj", "query_key_value", "Wqkv", "query", "in_proj_qkv", "c_attn"):
        whole = awq_rival.quantize(weight, statistics, config, layer=f"model.layers.0.self_attn.{name}")
        plain = awq_rival.quantize(weight, statistics, awq_rival.AwqLayerConfig(3, 16, 20, 1), layer="l")
        assert whole.weight.tobytes() == plain.weight.tobytes() != value.weight.tobytes(), name
    for name in ("block_sparse_moe.experts.0.w1", "self_attn.o_proj", "mlp.gate_proj", "attn.c_proj", "fc1"):
        assert not awq_rival.is_query_or_key(f"model.layers.0.{name}"), name


def test_awq_as_a_rival_beats_rounding_and_pays_for_its_scale():
    weight, x, statistics = scaled_inputs_layer()
    plain = rtn.quantize(weight, statistics, rtn.RtnConfig(3, 16), layer="l")
    result = awq_rival.quantize(weight, statistics, awq_rival.AwqLayerConfig(3, 16), layer="l")
    losses = [float((((r.weight - weight) @ x.T) ** 2).sum()) for r in (result, plain)]
    assert losses[0] < 0.8 * losses[1]
    assert result.bits.total - plain.bits.total == 16 * 32
    # One candidate each: no scaling, no clipping, plain rounding.
    none = awq_rival.quantize(weight, statistics, awq_rival.AwqLayerConfig(3, 16, 1, 1), layer="l")
    assert none.weight.tobytes() == plain.weight.tobytes()
