"""What blocks hand on besides the hidden states: parts of their output, and entries of a mapping."""

from collections import UserDict
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from haloquant.lm.calibration.handed_on import ArgumentRecorder, BlockOutput, Handed, Links, SharedMapping  # noqa: E402

CPU = torch.device("cpu")
X, Y = torch.arange(3.0), torch.arange(4)


def test_a_part_of_the_output_goes_to_the_blocks_that_read_it_and_is_forgotten_then() -> None:
    link = BlockOutput(0, 1)
    links = Links([((), {}), ((link,), {}), ((), {"router": [link, 5]}), ((), {})])
    handed: Handed = {}
    links.keep(0, (Y, X), {}, handed)
    assert list(handed) == [link.name]
    ((got,), _), _ = links.given(((link,), {}), handed, CPU)
    assert torch.equal(got, X)
    links.keep(1, Y, {}, handed)
    (_, kwargs), _ = links.given(((), {"router": [link, 5]}), handed, CPU)
    assert torch.equal(kwargs["router"][0], X) and kwargs["router"][1] == 5
    links.keep(2, Y, {}, handed)
    assert handed == {}
    ((missing,), _), _ = links.given(((link,), {}), handed, CPU)
    assert missing is None  # as a model passes it where there is none


def test_the_entries_of_a_mapping_are_there_in_later_blocks_for_each_window() -> None:
    mapping: Any = UserDict()
    recorder = ArgumentRecorder()
    own = [recorder.noted(((), {"shared": mapping, "tables": {"a": X}})) for _ in range(3)]
    assert own[0] == own[1] and isinstance(own[0][1]["shared"], SharedMapping)
    assert own[0][1]["tables"]["a"] is X
    assert recorder.noted((({},), {}))[0][0] != own[0][1]["shared"]
    links, windows = Links(own), [Handed(), Handed()]
    for factor, handed in enumerate(windows, 1):
        (_, kwargs), mappings = links.given(own[0], handed, CPU)
        assert type(kwargs["shared"]) is UserDict and not kwargs["shared"]
        kwargs["shared"] |= {"keys": (factor * X, factor * Y), "one": factor * X}
        links.keep(0, X, mappings, handed)
    for factor, handed in enumerate(windows, 1):
        (_, kwargs), mappings = links.given(own[1], handed, CPU)
        assert torch.equal(kwargs["shared"]["keys"][1], factor * Y) and torch.equal(kwargs["shared"]["one"], factor * X)
        links.keep(1, X, mappings, handed)
        assert len(handed) == 3
        links.keep(2, X, {}, handed)
        assert handed == {}


def test_what_cannot_be_kept_is_refused() -> None:
    links = Links([((BlockOutput(0, 1), SharedMapping(dict, 0)), {})] * 2)
    with pytest.raises(ValueError, match="it hands on a int from block to block, which is no tensor"):
        links.keep(0, (X, 3), {}, {})
    with pytest.raises(ValueError, match="it hands on keys and values under 7, which is no text"):
        links.keep(0, X, {SharedMapping(dict, 0): {7: X}}, {})


def test_arrays_are_copied_when_they_are_given() -> None:
    link = BlockOutput(0, 1)
    links, handed = Links([((), {}), ((link,), {})]), {link.name: np.ones(2, np.float32)}
    ((got,), _), _ = links.given(((link,), {}), handed, CPU)
    got += 1
    assert handed[link.name].tolist() == [1, 1]
