"""Arguments of blocks come back from the file as they were, whatever their types, and shared ones stay in memory."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from haloquant.lm.calibration.block_arguments import Arguments, BlockArguments, same_tensors  # noqa: E402

FIRST, SECOND = np.arange(4), np.arange(4) + 1


def arguments(tokens: np.ndarray, mask: torch.Tensor) -> list[Arguments]:
    """Arguments of two blocks: a mask that all windows have, and parts that depend on the tokens."""
    own = torch.from_numpy(tokens)[None]
    half = (own / 3).to(torch.bfloat16)
    return [
        ((mask, (half[:, ::2], None)), {"seen": own, "odd": own % 2 == 1, "none": own[:, :0], "one": own[0, 0]}),
        ((mask, (half, None)), {"seen": own, "name": f"window {tokens[0]}"}),
    ]


def test_every_window_gets_its_own_back() -> None:
    mask = torch.ones(4, 4)
    kept = BlockArguments(arguments(FIRST, mask))
    assert FIRST not in kept
    for tokens in (FIRST, SECOND):
        kept.keep(tokens, arguments(tokens, mask.clone()))
    for tokens in (FIRST, SECOND):
        assert tokens in kept
        for block, wanted in enumerate(arguments(tokens, mask)):
            found = kept.read(tokens, block)
            assert same_tensors(found, wanted) and same_tensors(wanted, found)
            assert found[0][0] is mask and found[0][1][1] is None
    assert kept.read(SECOND, 1)[1]["name"] == "window 1"
    assert kept.read(SECOND, 0)[1]["none"].shape == (1, 0)


def test_sets_with_other_tensors_are_not_the_same() -> None:
    one = arguments(FIRST, torch.ones(4, 4))
    assert same_tensors(one, arguments(FIRST, torch.ones(4, 4)))
    assert not same_tensors(one, arguments(SECOND, torch.ones(4, 4)))
    assert not same_tensors((torch.ones(2),), (None,)) and not same_tensors([torch.ones(2)], [torch.ones(3)])
    assert not same_tensors(torch.ones(2), torch.ones(2, dtype=torch.int64))
