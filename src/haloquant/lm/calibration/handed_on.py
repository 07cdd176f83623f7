"""What decoder blocks hand on to later blocks besides the hidden states, kept for one window between blocks.

Some models pass a part of a block's output to the next block (hidden states of its router). In others, blocks put keys
and values into a mapping from which later blocks read. While the arguments of the blocks are recorded, a `BlockOutput`
stands for such a part, and a `SharedMapping` for such a mapping. When a block runs, they are replaced by what earlier
blocks handed on for the window.
"""

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from haloquant.kernels.device_copies import to_host
from haloquant.lm.calibration.block_arguments import Arguments

Handed = dict[str, np.ndarray]


@dataclass(frozen=True)
class BlockOutput:
    """The part at `position` of what a block returns; the hidden states are at 0."""

    block: int
    position: int

    @property
    def name(self) -> str:
        """The name under which it is kept."""
        return f"output {self.block} {self.position}"


@dataclass(frozen=True)
class SharedMapping:
    """A mapping of type `kind` that blocks fill, the `number`-th of the model."""

    kind: Any
    number: int

    @property
    def name(self) -> str:
        """How the names of its entries begin."""
        return f"mapping {self.number} "


class ArgumentRecorder:
    """Replaces empty mappings among the arguments of the blocks in one forward pass."""

    def __init__(self) -> None:
        self._mappings: list[Any] = []

    def noted(self, arguments: Arguments) -> Arguments:
        """Return the arguments of a block with a `SharedMapping` for every mapping that is still empty."""
        args, kwargs = arguments
        return tuple(map(self._noted, args)), {name: self._noted(part) for name, part in kwargs.items()}

    def _noted(self, part: Any) -> Any:
        if not isinstance(part, MutableMapping) or len(part):
            return part
        if not any(part is known for known in self._mappings):
            self._mappings.append(part)
        return SharedMapping(type(part), next(n for n, known in enumerate(self._mappings) if part is known))


class Links:
    """Which block reads what other blocks hand on, by the recorded arguments of all blocks."""

    def __init__(self, arguments: Sequence[Arguments | None]) -> None:
        self._last: dict[BlockOutput | SharedMapping, int] = {}  # the last block that reads it
        for block, own in enumerate(arguments):
            for part in _links(own):
                self._last[part] = block

    def given(
        self, own: Arguments, handed: Handed, device: torch.device
    ) -> tuple[Arguments, dict[SharedMapping, MutableMapping[Any, Any]]]:
        """Return the arguments of a block with what was handed on, and the mappings among them.

        Args:
            own: the recorded arguments.
            handed: what earlier blocks handed on for the window.
            device: where the tensors shall be.
        """
        mappings: dict[SharedMapping, MutableMapping[Any, Any]] = {}

        def tensor(name: str) -> torch.Tensor | None:
            return torch.from_numpy(np.array(handed[name])).to(device) if name in handed else None

        def replaced(part: Any) -> Any:
            if isinstance(part, BlockOutput):
                return tensor(part.name)
            if isinstance(part, SharedMapping):
                if part not in mappings:
                    mappings[part] = part.kind()
                    for key, names in _entries(part, handed).items():
                        values = tuple(tensor(name) for name in names)
                        mappings[part][key] = values if names[0].endswith(" 0") else values[0]
                return mappings[part]
            if type(part) in (tuple, list):
                return type(part)(map(replaced, part))
            return {name: replaced(value) for name, value in part.items()} if type(part) is dict else part

        return replaced(own), mappings

    def keep(
        self, block: int, output: Any, mappings: dict[SharedMapping, MutableMapping[Any, Any]], handed: Handed
    ) -> None:
        """Put what a block hands on into `handed`, and remove what no later block reads.

        Raises:
            ValueError: It is no tensor, and no tensors in a tuple; or its key is no text.
        """
        for part in self._last:
            if isinstance(part, BlockOutput) and part.block == block:
                value = output[part.position] if isinstance(output, tuple | list) else None
                if value is not None:
                    handed[part.name] = _array(value)
        for part, mapping in mappings.items():
            known = _entries(part, handed)
            for key, value in mapping.items():
                if key in known:
                    continue  # a block adds entries, and changes none
                if not isinstance(key, str):
                    raise ValueError(f"it hands on keys and values under {key!r}, which is no text")
                if isinstance(value, tuple | list):
                    handed |= {f"{part.name}{key} {n}": _array(one) for n, one in enumerate(value)}
                else:
                    handed[f"{part.name}{key} "] = _array(value)
        wanted = tuple(part.name for part, last in self._last.items() if last > block)
        for name in [name for name in handed if not name.startswith(wanted)]:
            del handed[name]


def _entries(part: SharedMapping, handed: Handed) -> dict[str, list[str]]:
    """Return the names of the tensors of each entry of a mapping, by the entry's key."""
    found: dict[str, list[str]] = {}
    for name in handed:
        if name.startswith(part.name):
            found.setdefault(name.removeprefix(part.name).rpartition(" ")[0], []).append(name)
    return found


def _links(part: Any) -> Iterator[BlockOutput | SharedMapping]:
    if isinstance(part, BlockOutput | SharedMapping):
        yield part
    elif type(part) in (tuple, list, dict):
        for inner in part.values() if type(part) is dict else part:
            yield from _links(inner)


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"it hands on a {type(value).__name__} from block to block, which is no tensor")
    return to_host(value.detach())
