"""Arguments of the blocks that depend on the tokens of a window, as embeddings for each block do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaForCausalLM  # noqa: E402

from haloquant.lm.calibration.block_runner import BlockRunner  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from support.tiny_model import save_llama  # noqa: E402

WINDOWS = np.stack([np.arange(3, 19), np.arange(40, 56), np.full(16, 7)])


def test_each_window_gets_the_arguments_of_its_own_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, block = LlamaForCausalLM.forward, LlamaDecoderLayer.forward

    def pass_tokens(self: Any, input_ids: Any = None, **more: Any) -> Any:
        return whole(self, input_ids=input_ids, seen=input_ids, **more)

    def add_tokens(self: Any, hidden_states: Any, *given: Any, seen: Any, **more: Any) -> Any:
        return block(self, hidden_states, *given, **more) + 0.01 * seen[..., None].float()

    folder = save_llama(tmp_path / "model")
    model = load_model(folder)
    with torch.no_grad():
        plain = model(input_ids=torch.from_numpy(WINDOWS), use_cache=False).logits
    monkeypatch.setattr(LlamaForCausalLM, "forward", pass_tokens)
    monkeypatch.setattr(LlamaDecoderLayer, "forward", add_tokens)
    with torch.no_grad():
        wanted = model(input_ids=torch.from_numpy(WINDOWS), use_cache=False).logits
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
