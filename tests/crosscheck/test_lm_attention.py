"""Row Hessians of attention against the loss they stand for, by brute force."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from haloquant.errors import InputError  # noqa: E402
from haloquant.lm.calibration.attention_hessian import collect_row_hessians  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from haloquant.quant.rivals import boa  # noqa: E402
from haloquant.records import LayerStatistics  # noqa: E402

WINDOWS = np.random.default_rng(0).integers(3, 64, (3, 16))
COMMON = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    config = transformers.LlamaConfig(**COMMON, intermediate_size=24, num_key_value_heads=2)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return open_checkpoint(folder), load_model(folder)


def test_they_give_the_error_of_scores_and_outputs(parts: Any) -> None:
    checkpoint, model = parts
    found = collect_row_hessians(model, checkpoint, WINDOWS)
    assert set(found) == {x.name for x in checkpoint.layers if x.name[-6:] in ("q_proj", "k_proj", "v_proj")}
    attention, inputs = model.model.layers[1].self_attn, []
    handle = attention.q_proj.register_forward_pre_hook(lambda _m, args: inputs.append(args[0]))
    with torch.no_grad():
        for row in WINDOWS:
            model(input_ids=torch.from_numpy(row[None]))
    handle.remove()
    x = torch.cat(inputs).flatten(0, 1).double().numpy()
    w = {n: getattr(attention, f"{n}_proj").weight.detach().double().numpy() for n in "qkvo"}
    heads = {n: (x @ w[n].T).reshape(len(x), -1, 4) for n in "qkv"}
    rng = np.random.default_rng(1)
    for query_head in range(4):
        kv_head = query_head // 2
        error = rng.standard_normal((4, 16))  # of the head's rows of W_Q: its scores change by K D x
        brute = ((heads["k"][:, kv_head] @ error @ x.T) ** 2).sum()
        moved = error @ x.T
        row = found["model.layers.1.self_attn.q_proj"][query_head]
        assert np.einsum("it,ij,jt->", moved, row, moved) * len(x) == pytest.approx(brute, rel=1e-4)
    for kv_head in range(2):
        error = rng.standard_normal((4, 16))
        moved = error @ x.T
        served = (2 * kv_head, 2 * kv_head + 1)
        brute = sum(((heads["q"][:, h] @ moved) ** 2).sum() for h in served)
        row = found["model.layers.1.self_attn.k_proj"][kv_head]
        assert np.einsum("it,ij,jt->", moved, row, moved) * len(x) == pytest.approx(brute, rel=1e-4)
        brute = sum(((w["o"][:, 4 * h : 4 * h + 4] @ moved) ** 2).sum() for h in served)
        row = found["model.layers.1.self_attn.v_proj"][kv_head]
        assert np.einsum("it,ij,jt->", moved, row, moved) == pytest.approx(brute, rel=1e-4)


def test_boa_takes_them(parts: Any) -> None:
    checkpoint, model = parts
    found = collect_row_hessians(model, checkpoint, WINDOWS)
    layer = checkpoint.layers[1]
    weight = model.get_submodule(layer.name).weight.detach().numpy()
    statistics = LayerStatistics(layer.name, 1, hessian=np.eye(16, dtype=np.float32))
    config = boa.BoaConfig(bits=4, group=None)
    result = boa.quantize(weight, statistics, config, layer=layer.name, row_hessian=found[layer.name])
    assert np.isfinite(result.weight).all()


def test_fused_projections_are_refused(tmp_path: Any) -> None:
    config = transformers.GPTNeoXConfig(**COMMON, intermediate_size=24)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    with pytest.raises(InputError, match=r"need layers named q_proj, k_proj and v_proj, but .* \(gpt_neox\) has none"):
        collect_row_hessians(load_model(tmp_path), checkpoint, WINDOWS)
