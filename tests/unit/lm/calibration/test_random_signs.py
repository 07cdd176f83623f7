"""The signs of windows, drawn one after another and ahead in threads."""

import pytest
import torch

from haloquant.lm.calibration import random_signs

SHAPE = (1, 5, 8)


@pytest.mark.parametrize("windows", [1, 5, 20])
def test_threads_draw_the_signs_that_one_thread_draws(windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_signs, "moved", lambda tensor, device: tensor)
    ahead, alone = (
        list(random_signs.signs_of_windows(7, 3, range(2, 2 + windows), SHAPE, torch.device(device)))
        for device in ("meta", "cpu")
    )
    assert len(ahead) == len(alone) == windows
    for number, (one, other) in enumerate(zip(ahead, alone, strict=True)):
        assert one.dtype == torch.int8 and one.shape == SHAPE and torch.equal(one, other)
        assert torch.equal(one, random_signs.draw_signs(7, 3, 2 + number, SHAPE))
        assert set(one.unique().tolist()) == {-1, 1}
    assert len({tuple(signs.flatten().tolist()) for signs in alone}) == windows


def test_the_signs_follow_from_seed_block_and_window() -> None:
    assert random_signs.draw_signs(7, 3, 11, (12,)).tolist() == [1, -1, -1, 1, -1, -1, -1, 1, -1, -1, -1, -1]
