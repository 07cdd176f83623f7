"""Calibration against autograd and against plain sums; block by block against the model held whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from haloquant.errors import CheckpointError, InputError  # noqa: E402
from haloquant.kernels.bfloat16_products import Bfloat16Products  # noqa: E402
from haloquant.lm.calibration.block_runner import BlockRunner  # noqa: E402
from haloquant.lm.calibration.by_block import collect_by_block, perplexity_by_block  # noqa: E402
from haloquant.lm.calibration.in_memory import collect, cut_windows  # noqa: E402
from haloquant.lm.calibration.statistics_file import load_statistics, save_statistics  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.evaluation.perplexity import perplexity  # noqa: E402
from haloquant.lm.evaluation.rounded_activations import activations_per_token  # noqa: E402
from haloquant.lm.swap_weights import find_module, is_transposed  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from support.draws import daily  # noqa: E402
from support.model_families import save_model, tiny_config  # noqa: E402

COMMON = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**COMMON, "intermediate_size": 24, "num_key_value_heads": 2}
CONFIGS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**LLAMA, tie_word_embeddings=True),
    "qwen2": lambda: transformers.Qwen2Config(**LLAMA),
    "gemma2": lambda: transformers.Gemma2Config(**LLAMA, head_dim=4, sliding_window=8),
    "opt": lambda: transformers.OPTConfig(**COMMON, ffn_dim=24, word_embed_proj_dim=16),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**COMMON, intermediate_size=24),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=4),
    "falcon": lambda: transformers.FalconConfig(**COMMON),
}
# Families whose blocks get more than hidden states: embeddings of the tokens for each block, keys and values of earlier
# blocks, hidden states of the router before; and one whose hidden states have several streams before the samples.
FOR_EACH_BLOCK = {name: lambda name=name: tiny_config(name) for name in ("gemma4_text", "gemma3n_text", "zaya")}
TOKENS = np.random.default_rng(0).integers(3, 64, 400)
WINDOWS = cut_windows(TOKENS, 16, 12)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Random tiny models by family: a checkpoint and the model."""
    made: dict[str, Any] = {}

    def get(family: str) -> Any:
        if family not in made:
            torch.manual_seed(0)
            folder = tmp_path_factory.mktemp(family)
            model = transformers.AutoModelForCausalLM.from_config((CONFIGS | FOR_EACH_BLOCK)[family]())
            with torch.no_grad():  # large enough that positions matter
                for parameter in model.parameters():
                    if parameter.ndim == 2:
                        parameter.mul_(8)
            model.save_pretrained(folder)
            made[family] = (open_checkpoint(folder), load_model(folder))
        return made[family]

    return get


def names(checkpoint: Any) -> list[str]:
    return [layer.name for layer in checkpoint.layers]


@pytest.mark.parametrize("family", CONFIGS)
def test_the_fisher_is_the_mean_squared_gradient_of_autograd(family: str, saved: Any) -> None:
    checkpoint, model = saved(family)
    found = collect(model, TOKENS, names(checkpoint), window=16, samples=12, value_hessian="inputs")
    model.requires_grad_(True)
    wanted = {name: np.zeros(found[name].fisher.shape) for name in found}
    for row in WINDOWS:
        model.zero_grad()
        ids = torch.from_numpy(row[None])
        model(input_ids=ids, labels=ids).loss.backward()
        for name in wanted:
            module = find_module(model, name)
            gradient = module.weight.grad.double().numpy()
            wanted[name] += (gradient.T if is_transposed(module) else gradient) ** 2 / len(WINDOWS)
    model.zero_grad()
    model.requires_grad_(False)
    for name, statistics in found.items():
        np.testing.assert_allclose(statistics.fisher, wanted[name], rtol=2e-3, atol=1e-5 * wanted[name].max())
        assert statistics.source == (
            "fisher: gradients of the mean loss through the whole model, squared by sample; "
            "hessian: x x^T of the full-precision model; 12 windows of 16 tokens"
        )


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_input_sums_are_those_of_the_inputs(family: str, saved: Any) -> None:
    checkpoint, model = saved(family)
    found = collect(model, TOKENS, names(checkpoint), window=16, samples=12, fisher="none", value_hessian="inputs")
    inputs: dict[str, Any] = {}
    handles = [
        find_module(model, name).register_forward_pre_hook(lambda _m, a, name=name: inputs.update({name: a[0]}))
        for name in found
    ]
    with torch.no_grad():
        model(input_ids=torch.from_numpy(WINDOWS))
    for handle in handles:
        handle.remove()
    for name, statistics in found.items():
        x = inputs[name].double().reshape(-1, inputs[name].shape[-1]).numpy()
        assert statistics.tokens == len(x) == WINDOWS.size
        assert statistics.fisher is None
        wanted = 2 / len(x) * x.T @ x
        np.testing.assert_allclose(statistics.hessian, wanted, rtol=1e-4, atol=1e-5 * wanted.max())
        np.testing.assert_allclose(statistics.input_absmean, np.abs(x).mean(0), rtol=1e-5)
        np.testing.assert_allclose(statistics.input_absmax, np.abs(x).max(0), rtol=1e-6)


def test_layers_that_read_one_input_share_its_hessian(saved: Any) -> None:
    checkpoint, model = saved("llama")
    found = list(collect(model, TOKENS, names(checkpoint), window=16, samples=2, value_hessian="inputs").values())
    assert found[0].hessian is found[1].hessian is found[2].hessian
    assert found[3].hessian is not found[0].hessian
    weighted = list(collect(model, TOKENS, names(checkpoint), window=16, samples=2).values())
    assert weighted[0].hessian is weighted[1].hessian is not weighted[2].hessian


def test_the_fisher_by_token_is_the_sum_over_positions(saved: Any) -> None:
    checkpoint, model = saved("llama")
    layer = checkpoint.layers[
        -1
    ].name  # a down projection: a position acts on later positions through nothing but itself
    found = collect(model, TOKENS, [layer], window=16, samples=3, fisher="token")[layer]
    kept: dict[str, Any] = {}
    module = find_module(model, layer)

    def keep(_m: Any, args: Any, output: Any) -> None:
        kept["x"] = args[0].detach()
        output.register_hook(lambda g: kept.update(delta=g))

    wanted = 0.0
    for row in cut_windows(TOKENS, 16, 3):
        handle = module.register_forward_hook(keep)
        ids = torch.from_numpy(row[None])
        embedded = model.get_input_embeddings()(ids).requires_grad_(True)
        model(inputs_embeds=embedded, labels=ids).loss.backward()
        handle.remove()
        for t in range(16):
            wanted = wanted + torch.outer(kept["delta"][0, t], kept["x"][0, t]).double().numpy() ** 2 / 3
    np.testing.assert_allclose(found.fisher, wanted, rtol=1e-3, atol=1e-6 * np.max(wanted))
    assert "squared by token" in found.source


@pytest.mark.parametrize("family", [*CONFIGS, *FOR_EACH_BLOCK])
def test_block_by_block_sees_what_the_whole_model_sees(family: str, saved: Any, tmp_path: Path) -> None:
    checkpoint, model = saved(family)
    whole = collect(model, TOKENS, names(checkpoint), window=16, samples=12, fisher="none")
    found = dict(collect_by_block(checkpoint, WINDOWS, fisher="none", scratch=tmp_path))
    assert list(found) == list(checkpoint.layers)
    for layer, statistics in found.items():
        wanted = whole[layer.name]
        np.testing.assert_allclose(statistics.hessian, wanted.hessian, rtol=1e-3, atol=1e-5 * wanted.hessian.max())
        np.testing.assert_allclose(statistics.input_absmax, wanted.input_absmax, rtol=1e-4)
        assert statistics.fisher is None and "no fisher" in statistics.source
    everything = cut_windows(TOKENS, 16, 1000)
    assert perplexity_by_block(checkpoint, everything).value == pytest.approx(
        perplexity(model, TOKENS, 16).value, rel=1e-5
    )


def test_the_fallback_fisher_is_the_gauss_newton_diagonal_and_is_declared(saved: Any) -> None:
    """Judge: the Jacobian of the first block by autograd, for one window."""
    checkpoint, model = saved("llama")
    windows = np.repeat(WINDOWS[:1], 150, axis=0)  # the same window with 150 draws of the signs
    layer = checkpoint.layers[3]
    found = dict(collect_by_block(replace(checkpoint, layers=(layer,)), windows))[layer]
    module, block = find_module(model, layer.name), model.model.layers[0]
    kept: dict[str, Any] = {}
    handle = block.register_forward_pre_hook(lambda _m, a, k: kept.update(args=a, kwargs=k), with_kwargs=True)
    with torch.no_grad():
        model(input_ids=torch.from_numpy(windows[:1]), use_cache=False)
    handle.remove()

    def run(weight: Any) -> Any:
        name = layer.name.removeprefix("model.layers.0.") + ".weight"
        return torch.func.functional_call(block, {name: weight}, kept["args"], kept["kwargs"])

    weight = module.weight.detach().clone().requires_grad_()
    outputs = run(weight).flatten()
    jacobian = torch.stack([torch.autograd.grad(y, weight, retain_graph=True)[0] for y in outputs])
    wanted = (jacobian.square().sum(0) / outputs.detach().square().sum()).numpy()
    assert "layer-wise fallback, Gauss-Newton diagonal" in found.source and "not the gradient" in found.source
    np.testing.assert_allclose(found.fisher.mean(), wanted.mean(), rtol=0.1)
    assert np.corrcoef(found.fisher.ravel(), wanted.ravel())[0, 1] > 0.95


def test_the_hessian_as_fisher_is_declared(saved: Any) -> None:
    checkpoint, _ = saved("llama")
    layer, found = next(iter(collect_by_block(checkpoint, WINDOWS, fisher="hessian")))
    assert found.fisher.shape == (layer.out_features, layer.in_features)
    np.testing.assert_array_equal(found.fisher[-1], np.diagonal(found.hessian))
    assert "layer-wise fallback, diagonal of the Hessian" in found.source


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_perplexity_by_block_rounds_activations_too(family: str, saved: Any) -> None:
    checkpoint, model = saved(family)
    with activations_per_token(model, names(checkpoint)):
        whole = perplexity(model, TOKENS, 16).value
    by_block = perplexity_by_block(checkpoint, cut_windows(TOKENS, 16, 1000), activation_bits=8)
    assert by_block.value == pytest.approx(whole, rel=1e-5)


def test_only_some_layers_may_be_asked_for(saved: Any) -> None:
    checkpoint, model = saved("llama")
    chosen = open_checkpoint(checkpoint.folder, include=[r"layers\.1\.mlp\.down"])
    (name,) = names(chosen)
    wanted = collect(model, TOKENS, [name], window=16, samples=12, fisher="none")[name]
    ((_, found),) = collect_by_block(chosen, WINDOWS, fisher="none")
    np.testing.assert_allclose(found.hessian, wanted.hessian, rtol=1e-3)


def test_windows_are_spread_and_begin_with_bos() -> None:
    tokens = np.arange(100)
    windows = cut_windows(tokens, 10, 3)
    assert windows[:, 0].tolist() == [0, 40, 90]
    assert cut_windows(tokens, 10, 500).shape == (10, 10)
    assert cut_windows(tokens, 11, 2, bos=7)[:, :2].tolist() == [[7, 0], [7, 90]]
    with pytest.raises(
        InputError, match="the calibration text must have at least 10 tokens, one window, but has 3; give"
    ):
        cut_windows(tokens[:3], 10, 3)
    with pytest.raises(InputError, match="the calibration text must have at least 10 tokens, one window, but has 0"):
        cut_windows(tokens[:0], 10, 3)
    with pytest.raises(InputError, match="windows of at least 2 tokens and 1 sample, not 10 and 0"):
        cut_windows(tokens, 10, 0)


def test_statistics_survive_the_disk(saved: Any, tmp_path: Path) -> None:
    checkpoint, model = saved("llama")
    found = collect(model, TOKENS, names(checkpoint), window=16, samples=2)
    path = tmp_path / "kept" / "statistics.safetensors"
    save_statistics(path, found)
    again = load_statistics(path)
    assert list(again) == list(found)
    for name, statistics in found.items():
        assert (again[name].tokens, again[name].source) == (statistics.tokens, statistics.source)
        for part in ("fisher", "hessian", "input_absmean", "input_absmax"):
            np.testing.assert_array_equal(getattr(again[name], part), getattr(statistics, part))
    first = list(again.values())
    assert first[0].hessian is first[1].hessian
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="is cut short"):
        load_statistics(path)
    with pytest.raises(CheckpointError, match="must hold calibration statistics, but"):
        load_statistics(checkpoint.files[0])


def test_an_expert_that_no_token_reached_says_so(saved: Any) -> None:
    from haloquant.lm.calibration.hessian import Recorder, to_statistics

    recorder = Recorder(("a.experts.0.w1",), with_gram=True)
    (found,) = to_statistics(recorder, "source", 1).values()
    assert found.tokens == 0 and found.hessian is None
    assert found.source == "no calibration token reached this layer"


@pytest.mark.parametrize("family", ["llama", "gpt2", "falcon"])
def test_sums_kept_on_the_device_are_those_of_the_shards(saved: Any, family: str) -> None:
    """The way that a GPU takes, on the CPU: "cpu:0" is a device that is not called "cpu"."""
    checkpoint, _ = saved(family)
    plain, passed = dict(collect_by_block(checkpoint, WINDOWS)), []
    turns: list[str] = []

    @contextmanager
    def turn() -> Iterator[None]:
        turns.append("begin")
        yield
        turns.append("end")

    at_once = collect_by_block(
        checkpoint, WINDOWS, device="cpu:0", passed=lambda block, states: passed.append(block), turn=turn
    )
    for layer, known in at_once:
        assert turns == ["begin", "end"] * (1 + (layer.block or 0))  # the device is free while layers are rounded
        for part in ("hessian", "fisher", "input_absmean", "input_absmax"):
            ours, wanted = getattr(known, part), getattr(plain[layer], part)
            np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max(), err_msg=part)
        assert known.tokens == plain[layer].tokens
    assert passed == [1, 2]


@pytest.mark.thinned
@pytest.mark.parametrize("family", daily(CONFIGS, ["llama", "gpt2", "falcon"]))
def test_bfloat16_products_are_summed_in_float32(family: str, saved: Any) -> None:
    """The inputs of the layers give the Hessian, summed here in float64; outputs are near those of torch's autocast."""
    checkpoint, _ = saved(family)
    plain = dict(collect_by_block(checkpoint, WINDOWS))
    first = [layer for layer in checkpoint.layers if layer.block == 0]
    seen: dict[str, list[Any]] = {layer.name: [] for layer in first}
    runner = BlockRunner(checkpoint, WINDOWS)

    def note(name: str) -> Any:
        return lambda _module, args, _output: seen[name].append(args[0].detach().bfloat16().double().flatten(0, -2))

    with runner.loaded(0), torch.no_grad():
        states, tokens = runner.states(0), WINDOWS[0]
        exact = runner.run(0, states, tokens)
        with torch.autocast("cpu", torch.bfloat16):
            automatic = runner.run(0, states, tokens).float()
        for layer in first:
            find_module(runner.empty_model.model, layer.name).register_forward_hook(note(layer.name))
        with Bfloat16Products():
            outputs = [runner.run(0, runner.states(index), row) for index, row in enumerate(WINDOWS)]
    assert outputs[0].dtype == torch.float32
    assert 0 < (outputs[0] - exact).norm() < 2 * (automatic - exact).norm()
    again = iter(collect_by_block(checkpoint, WINDOWS, dtype="bfloat16"))
    for layer, known in collect_by_block(checkpoint, WINDOWS, dtype="bfloat16"):
        assert "products of bfloat16" in known.source and "bfloat16" not in plain[layer].source
        assert ("weighted by attention" in known.source) == ("weighted by attention" in plain[layer].source)
        _, same = next(again)
        for part, most in (("hessian", 0.02), ("fisher", 0.2), ("input_absmean", 0.02), ("input_absmax", 0.03)):
            ours, wanted = getattr(known, part), getattr(plain[layer], part)
            assert ours.dtype == np.float32
            assert np.linalg.norm(ours - wanted) <= most * np.linalg.norm(wanted), (layer.name, part)
            np.testing.assert_array_equal(ours, getattr(same, part))
        assert (known.hessian != plain[layer].hessian).any()
        if seen.get(layer.name) and "weighted by attention" not in known.source:
            x = torch.cat(seen[layer.name])
            exact = (x.T @ x).numpy() * (2 / len(x))
            np.testing.assert_allclose(known.hessian, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "qwen3_next"])
def test_routers_stay_float32_among_products_of_bfloat16(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "model", tiny_config(family))
    checkpoint, left = open_checkpoint(tmp_path / "model"), []
    windows = cut_windows(np.random.default_rng(1).integers(3, 250, 128), 32, 4)
    count = len([layer for layer in checkpoint.layers if layer.block == 0])
    plain = dict(islice(collect_by_block(checkpoint, windows), count))
    real = Bfloat16Products.leave
    monkeypatch.setattr(Bfloat16Products, "leave", lambda self, given: real(self, left.extend(given) or left))
    rounded = dict(islice(collect_by_block(checkpoint, windows, dtype="bfloat16"), count))
    names = [
        name for name in checkpoint.tensors if ".0." in name and ("gate.weight" in name or "router.weight" in name)
    ]
    routers = {checkpoint.tensors[name].shape for name in names}
    assert routers and routers <= {tuple(x.shape) for x in left}
    assert not {tuple(x.shape) for x in left} & {(layer.out_features, layer.in_features) for layer in plain}
    experts = [layer for layer in plain if ".experts." in layer.name]
    assert len(experts) >= 4 and any((plain[layer].hessian != rounded[layer].hessian).any() for layer in experts)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_sums_bfloat16_products_in_float32(saved: Any) -> None:
    checkpoint, _ = saved("llama")
    plain = dict(collect_by_block(checkpoint, WINDOWS, dtype="bfloat16"))
    for layer, known in collect_by_block(checkpoint, WINDOWS, dtype="bfloat16", device="cuda:0"):
        for part, most in (("hessian", 0.02), ("fisher", 0.2)):
            ours, wanted = getattr(known, part), getattr(plain[layer], part)
            assert np.linalg.norm(ours - wanted) <= most * np.linalg.norm(wanted), (layer.name, part)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("family", list(CONFIGS))
def test_a_gpu_gives_the_statistics_of_the_cpu(saved: Any, family: str) -> None:
    checkpoint, model = saved(family)
    plain = dict(collect_by_block(checkpoint, WINDOWS))
    for layer, known in collect_by_block(checkpoint, WINDOWS, device="cuda:0"):
        for part in ("hessian", "fisher", "input_absmean", "input_absmax"):
            ours, wanted = getattr(known, part), getattr(plain[layer], part)
            np.testing.assert_allclose(ours, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max(), err_msg=part)
    on_cpu = perplexity(model, TOKENS, window=16).value
    assert perplexity(model.to("cuda:0"), TOKENS, window=16).value == pytest.approx(on_cpu, rel=1e-5)
    model.to("cpu")
