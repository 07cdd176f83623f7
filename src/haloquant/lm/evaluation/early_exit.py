"""What a decoder predicts after each of its blocks, and what it loses where tokens leave before the last block.

The hidden states after a block pass the model's own final norm and head ("logit lens"). The entropy of the predicted
distribution, H = -sum p ln p in nats, says how sure the model is. A token leaves after the first block whose entropy is
below a threshold (EdgeBERT, arXiv 2011.14203; for decoders CALM, arXiv 2207.07061). Blocks are counted from 1.

Later tokens attend to keys and values of all blocks, also of those that a token skipped. `predict_by_block` computes
every block for every token: as if these keys and values were known at no cost. `leave_early` copies the hidden state
with which a token left to all later blocks, as CALM does. They compute the token's keys and values from this copy, and
nothing else. So a real decoder with early exit gives the same predictions.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from haloquant.errors import HaloquantError, InputError, first_line
from haloquant.kernels.device_errors import explained
from haloquant.lm.calibration.empty_model import decoder_blocks
from haloquant.lm.evaluation.perplexity import check_finite

Progress = Callable[[int, int], None]
After = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]  # block from 0, states before it and after it


@dataclass(frozen=True)
class BlockPredictions:
    """Entropy of the prediction after each block, and the negative log-likelihood of the token that follows; nats.

    The last token of a window predicts nothing, so there is one token less than in the window.
    """

    entropy: Float64[np.ndarray, "windows blocks tokens"]
    nll: Float64[np.ndarray, "windows blocks tokens"]


@dataclass(frozen=True)
class EarlyExits:
    """The block after which each token left, from 1, and the negative log-likelihood of the token that follows it."""

    blocks: Int64[np.ndarray, "windows tokens"]
    nll: Float64[np.ndarray, "windows tokens"]


def predict_by_block(
    model: Any, layers: Sequence[str], windows: Int64[np.ndarray, "windows t"], progress: Progress | None = None
) -> BlockPredictions:
    """Return what a model predicts after each block, with all blocks computed for all tokens.

    Args:
        model: a loaded causal language model of transformers, plain or packed.
        layers: names of its linear layers, by which its blocks are found.
        windows: windows of tokens.
        progress: called with the number of windows done and of all windows.

    Raises:
        CheckpointError: The model keeps its blocks in no list.
        InputError: The model has no head of its own, cannot be run block by block, or gives NaN or infinity.
    """
    reader = BlockReader(model, layers)
    entropy, nll = [], []
    for done, window in enumerate(windows):
        ids = torch.from_numpy(window[None]).to(reader.device)
        seen: list[tuple[np.ndarray, np.ndarray]] = []

        def read(_block: int, _before: torch.Tensor, states: torch.Tensor, ids: torch.Tensor = ids) -> torch.Tensor:
            seen.append(entropy_and_nll(reader.logits(ids, states), ids))  # noqa: B023 - used in this turn only
            return states

        reader.run(ids, read)
        entropy.append([one[0] for one in seen])
        nll.append([one[1] for one in seen])
        if progress is not None:
            progress(done + 1, len(windows))
    check_finite([float(one) for part in nll for one in np.sum(part, axis=1)], reader.arithmetic)
    return BlockPredictions(np.array(entropy), np.array(nll))


def leave_early(
    model: Any,
    layers: Sequence[str],
    windows: Int64[np.ndarray, "windows t"],
    threshold_nats: float | None,
    latest: Int64[np.ndarray, "windows tokens"] | None = None,
    first_block: int = 1,
    progress: Progress | None = None,
) -> EarlyExits:
    """Run a model whose tokens leave early; the state with which a token left is copied to all later blocks.

    Args:
        model: as in `predict_by_block`.
        layers: as in `predict_by_block`.
        windows: as in `predict_by_block`.
        threshold_nats: a token leaves after the first block whose entropy is below; None reads no entropy.
        latest: the block after which each token leaves at the latest, from 1; None lets it run to the last one.
        first_block: the first block after which a token may leave.
        progress: as in `predict_by_block`.

    Raises:
        CheckpointError: As `predict_by_block`.
        InputError: As `predict_by_block`.
    """
    reader = BlockReader(model, layers)
    count, blocks, nll = len(reader.blocks), [], []
    for done, window in enumerate(windows):
        ids = torch.from_numpy(window[None]).to(reader.device)
        left = np.zeros(len(window), np.int64)
        due = np.full(len(window), count) if latest is None else np.append(latest[done], count)

        def leave(block: int, before: torch.Tensor, states: torch.Tensor, ids=ids, left=left, due=due) -> torch.Tensor:
            gone = torch.from_numpy(left > 0).to(states.device).view(1, -1, *[1] * (states.ndim - 2))
            states = torch.where(gone, before, states)
            if block + 1 < count and block + 1 >= first_block:
                leaves = due <= block + 1
                if threshold_nats is not None:
                    leaves = leaves | (entropy_of(reader.logits(ids, states)) < threshold_nats)
                left[(left == 0) & leaves] = block + 1
            return states

        logits = reader.run(ids, leave)
        left[left == 0] = count
        blocks.append(left[:-1])
        nll.append(entropy_and_nll(logits, ids)[1])
        if progress is not None:
            progress(done + 1, len(windows))
    check_finite([float(one.sum()) for one in nll], reader.arithmetic)
    return EarlyExits(np.array(blocks), np.array(nll))


class BlockReader:
    """A loaded model whose blocks' hidden states are read, and passed through its final norm and head."""

    def __init__(self, model: Any, layers: Sequence[str]) -> None:
        """Find the blocks.

        Raises:
            CheckpointError: The model keeps its blocks in no list.
            InputError: The model has no head of its own.
        """
        self.model = model
        self.blocks = decoder_blocks(model, layers)
        if model.get_output_embeddings() is None:
            raise InputError(
                f"early exit needs a model with a head of its own that predicts tokens, and {type(model).__name__} has "
                "none; choose a causal language model"
            )
        first = next(model.parameters())
        self.device, self.arithmetic = first.device, str(first.dtype).removeprefix("torch.")
        self._given: torch.Tensor | None = None  # what the head reads, while no block computes
        self._rest: tuple[Any, ...] | None = None  # what a block returns beside its states; None if nothing

    def run(self, ids: torch.Tensor, after: After) -> torch.Tensor:
        """Return the logits [1, t, vocabulary] of tokens [1, t]; what `after` returns replaces the states of a block.

        Raises:
            InputError: The model's own code raises an error.
        """
        try:
            with explained("early exit", str(self.device)), torch.inference_mode(), self._watched(after):
                return self.model(input_ids=ids, use_cache=False).logits
        except (HaloquantError, MemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"early exit needs a model ({type(self.model).__name__}) that passes hidden states from block to "
                f"block, but: {first_line(error)}"
            ) from error

    def logits(self, ids: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return the logits [1, t, vocabulary] of hidden states [1, t, hidden]; only `after` may call it."""
        self._given = states
        try:
            return self.model(input_ids=ids, use_cache=False).logits
        finally:
            self._given = None

    @contextmanager
    def _watched(self, after: After) -> Iterator[None]:
        def watch(block: int, forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                before = args[0] if args else kwargs["hidden_states"]
                if self._given is not None:
                    return self._shaped(self._given if block + 1 == len(self.blocks) else before)
                output = forward(*args, **kwargs)
                whole = isinstance(output, tuple)
                self._rest = output[1:] if whole else None
                return self._shaped(after(block, before, output[0] if whole else output))

            return run

        try:
            for block, module in enumerate(self.blocks):
                module.forward = watch(block, module.forward)
            yield
        finally:
            for module in self.blocks:
                module.__dict__.pop("forward", None)

    def _shaped(self, states: torch.Tensor) -> Any:
        return states if self._rest is None else (states, *self._rest)


def entropy_of(logits: torch.Tensor) -> np.ndarray:
    """Return the entropy in nats of each predicted distribution [t], for logits [1, t, vocabulary]."""
    return torch.special.entr(logits[0].float().softmax(-1)).sum(-1).double().cpu().numpy()


def entropy_and_nll(logits: torch.Tensor, ids: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the entropy and the negative log-likelihood of the next token [t - 1], in nats."""
    losses = torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:], reduction="none")
    return entropy_of(logits[:, :-1]), losses.double().cpu().numpy()
