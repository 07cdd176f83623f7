"""Arguments of the blocks that depend on the tokens of a window, as embeddings for each block do."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaForCausalLM, LlamaRMSNorm  # noqa: E402

from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.calibration.block_runner import BlockRunner  # noqa: E402
from haloquant.lm.calibration.empty_model import read_bfloat16  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.checkpoint.safetensors import read_float32, read_header  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from support.tiny_model import save_llama  # noqa: E402

WINDOWS = np.stack([np.arange(3, 19), np.arange(40, 56), np.full(16, 7)])


@pytest.fixture
def passed_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a Llama pass the tokens to its blocks, which add them to the hidden states."""
    whole, block = LlamaForCausalLM.forward, LlamaDecoderLayer.forward

    def pass_tokens(self: Any, input_ids: Any = None, **more: Any) -> Any:
        return whole(self, input_ids=input_ids, seen=input_ids, **more)

    def add_tokens(self: Any, hidden_states: Any, *given: Any, seen: Any, **more: Any) -> Any:
        return block(self, hidden_states, *given, **more) + 0.01 * seen[..., None].float()

    monkeypatch.setattr(LlamaForCausalLM, "forward", pass_tokens)
    monkeypatch.setattr(LlamaDecoderLayer, "forward", add_tokens)


def test_each_window_gets_the_arguments_of_its_own_tokens(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = save_llama(tmp_path / "model")
    model = load_model(folder)

    def logits_of_all() -> Any:
        with torch.no_grad():
            return model(input_ids=torch.from_numpy(WINDOWS), use_cache=False).logits

    plain = logits_of_all()
    request.getfixturevalue("passed_tokens")
    wanted = logits_of_all()
    assert not torch.allclose(wanted, plain, atol=1e-3)
    for count in (3, 1):  # a worker's runner knows the first window alone, and is given the others
        runner = BlockRunner(open_checkpoint(folder), WINDOWS[:count])
        states = [model.get_input_embeddings()(torch.from_numpy(row[None])) for row in WINDOWS]
        for number in range(len(runner.blocks)):
            with runner.loaded(number), torch.no_grad():
                states = [runner.run(number, x, row) for x, row in zip(states, WINDOWS, strict=True)]
        with torch.no_grad():
            logits = torch.cat([model.lm_head(model.model.norm(x)) for x in states])
        torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)


def test_what_the_model_does_behind_its_last_block_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise ValueError("behind the last block")

    checkpoint = open_checkpoint(save_llama(tmp_path / "model"))
    monkeypatch.setattr(LlamaRMSNorm, "forward", refuse)  # blocks do not run while their arguments are recorded
    assert BlockRunner(checkpoint, WINDOWS).hidden.shape[:2] == WINDOWS.shape


def test_blocks_that_run_twice_or_whose_states_change_outside_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, once = open_checkpoint(save_llama(tmp_path / "model")), LlamaDecoderLayer.__call__
    for call, said in (
        (lambda block, x, *args, **more: once(block, once(block, x, *args, **more), *args, **more), "several times"),
        (lambda block, x, *args, **more: 2 * once(block, x, *args, **more), "changes hidden states before block 1"),
    ):
        monkeypatch.setattr(LlamaDecoderLayer, "__call__", call)
        with pytest.raises(CheckpointError, match=rf"\(llama\) must run block by block to be calibrated.*{said}"):
            BlockRunner(checkpoint, WINDOWS)


def test_the_arguments_of_more_windows_take_no_more_memory(tmp_path: Path, passed_tokens: None) -> None:
    checkpoint = open_checkpoint(save_llama(tmp_path / "model"))
    spool = tmp_path / "spool"
    spool.mkdir()

    def held(count: int) -> int:
        """Return the bytes of all tensors when every window has run."""
        windows = np.random.default_rng(0).integers(3, 60, (count, 16))
        runner = BlockRunner(checkpoint, windows, spool=spool)
        for number in range(len(runner.blocks)):
            with runner.loaded(number):
                runner.advance(number)
        gc.collect()
        tensors = [x for x in gc.get_objects() if type(x) is torch.Tensor and x.device.type == "cpu"]
        return sum({x.data_ptr(): x.untyped_storage().nbytes() for x in tensors}.values())

    held(2)  # what torch keeps after a first run
    assert held(2) == held(20)
    assert not list(spool.iterdir())  # the file has no name, so that nothing is left when the process is killed


def test_bfloat16_is_converted_on_the_device_to_the_values_that_the_reader_gives(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(7, 12, generator=generator).bfloat16()
    values[0, :3] = torch.tensor([0.0, 3e38, -1e-40])
    damaged = values.clone()
    damaged[2, 3] = torch.nan
    file, cpu = tmp_path / "model.safetensors", torch.device("cpu")
    save_file({"halves": values, "whole": values.float(), "damaged": damaged}, file)
    held = read_header(file)
    made = read_bfloat16(held["halves"], cpu)
    assert made is not None and made.dtype == torch.float32 and made.shape == values.shape
    np.testing.assert_array_equal(made.numpy().ravel(), read_float32(held["halves"]))
    assert read_bfloat16(held["whole"], cpu) is None and read_bfloat16(held["damaged"], cpu) is None
