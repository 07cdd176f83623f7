"""Run tasks on the layers of a checkpoint, and keep every finished task as a step on disk.

Workers return their results, and only this process writes them. So if a worker is lost, only the task that it was
running is repeated. If a job is stopped, the few tasks whose results were not written yet are repeated. A calibrated
pass also stores the hidden states after each block, to continue from there. The statistics of a pass may be kept for
the next, which then does not calibrate.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from haloquant.jobs.engine.metering import Meter, metered
from haloquant.jobs.engine.tasks import Arrays, Function, Session, Work
from haloquant.jobs.engine.worker_device import device_turn
from haloquant.jobs.inputs import Progress
from haloquant.jobs.quantize.request import Request
from haloquant.jobs.quantize.stored_calibration import StoredStates, StoredStatistics
from haloquant.kernels.device_errors import explained
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer
from haloquant.records import LayerStatistics
from haloquant.store.finished_steps import Steps

StepKey = tuple[str, object]  # a step's name, and everything that its result depends on
Fisher = Literal["block", "none"]  # the Fisher argument of `lm.calibration.by_block.collect_by_block`


@dataclass(frozen=True)
class LayerStep:
    """One step that a pass finishes for every layer.

    `key` gives the name and the inputs of a layer's step. `work` makes the task's input from the layer and its
    statistics (None without calibration), and `function` runs it. `save` writes what the task returned to the step's
    folder: a small result and arrays.
    """

    key: Callable[[LinearLayer], StepKey]
    function: Function
    work: Callable[[LinearLayer, LayerStatistics | None], Work]
    save: Callable[[Path, LinearLayer, Any, Arrays], None]


@dataclass(frozen=True)
class LayerPass:
    """One pass over layers, which finishes the same steps for each.

    `name` is shown as progress. `fisher` says which Fisher information calibration collects. `kept` says that the next
    pass needs the same statistics: they stay on disk, if there is room.
    """

    name: str
    layers: Sequence[LinearLayer]
    steps: Sequence[LayerStep]
    fisher: Fisher = "block"
    kept: bool = False


class TaskRunner:
    """Runs passes over the layers of one checkpoint on the workers of a session.

    `folder` returns the folder of a finished step. `tokens` holds the number of calibration tokens of the layers that
    ran in this call.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        request: Request,
        steps: Steps,
        key: str,
        session: Session,
        progress: Progress,
        meter: Meter,
    ) -> None:
        self.steps, self.key, self.progress, self.meter = steps, key, progress, meter
        self._folders: dict[str, Path] = {}
        self.tokens: dict[str, int] = {}
        self._checkpoint, self._request, self._session = checkpoint, request, session
        self._blocks = 1 + max((layer.block or 0 for layer in checkpoint.layers), default=0)
        self._calibrated = False  # whether a pass over all layers has collected statistics

    def run(self, layers: LayerPass) -> int:
        """Run the tasks of all unfinished steps. Return the number of layers that were finished before.

        Steps with the same name and inputs, as of two models that agree in a layer, are one step.
        """
        known: dict[str, bool] = {}  # every step by its hash: whether it is finished
        steps: dict[str, list[tuple[LayerStep, StepKey]]] = {layer.name: [] for layer in layers.layers}
        for layer in layers.layers:
            for step in layers.steps:
                key = step.key(layer)
                place = self.steps.key(*key)
                if place not in known:
                    known[place] = self.find(key) is not None
                    if not known[place]:
                        steps[layer.name].append((step, key))
        missing = {layer.name: layer for layer in layers.layers if steps[layer.name]}
        tell, total, done = self.counter(layers.name), len(known), sum(known.values())
        sent: list[tuple[LinearLayer, LayerStep, StepKey]] = []
        if done:
            tell(done, total)

        def works() -> Iterator[Work]:
            for layer, statistics in self._metered(*self._statistics(layers, missing)):
                if statistics is not None:
                    self.tokens[layer.name] = statistics.tokens
                for step, key in tuple(steps.get(layer.name, ())):  # a copy: finished steps leave the list
                    sent.append((layer, step, key))
                    task = step.work(layer, statistics)
                    yield replace(task, argument=(step.function, task.argument))

        with self.meter.stage(layers.name), explained(f"running {layers.name}", self._request.device):
            for index, (made, used), arrays in self._session.run(metered, works()):
                layer, step, key = sent[index]
                self.meter.add(layer.name.rpartition(".")[2], layer.out_features * layer.in_features, used)
                self.steps.run(*key, partial(_save, step, layer, made, arrays))
                steps[layer.name].remove((step, key))
                if not steps[layer.name]:
                    missing.pop(layer.name)
                done += 1
                tell(done, total)
        StoredStates(self.steps, self.key, layers.name).delete(range(1, self._blocks + 1))
        if not layers.kept:
            StoredStatistics(self.steps, self.key).delete(range(self._blocks))
        return len(layers.layers) - len({layer.name for layer, _, _ in sent})

    def find(self, key: StepKey) -> Path | None:
        """Return the folder of a step, or None if it is not finished."""
        name, inputs = key
        place = self.steps.key(name, inputs)
        if place not in self._folders and (folder := self.steps.find(name, inputs)) is not None:
            self._folders[place] = folder
        return self._folders.get(place)

    def folder(self, key: StepKey) -> Path:
        """Return the folder of a finished step.

        Raises:
            ValueError: The step is not finished.
        """
        folder = self.find(key)
        if folder is None:
            raise ValueError(f"the step {key[0]} must be finished before its files are read")
        return folder

    def forget(self, key: StepKey) -> None:
        """Delete the folder of a step, if there is one."""
        self._folders.pop(self.steps.key(*key), None)
        self.steps.forget(*key)

    def counter(self, task: str) -> Callable[[int, int], None]:
        """Return a progress function for one task. Its arguments are the number of parts done and of all parts."""
        return lambda done, total: self.progress(task, done, total)

    def _statistics(
        self, layers: LayerPass, missing: Mapping[str, LinearLayer]
    ) -> tuple[str, Iterator[tuple[LinearLayer, LayerStatistics | None]]]:
        """Return the name of a stage, and layers with their statistics.

        Calibration does not run if no layer is missing, or if an earlier pass kept the statistics. `missing` loses a
        layer when all its steps are finished.
        """
        if self._request.calibration is None or not missing:
            return layers.name, ((layer, None) for layer in tuple(missing.values()))
        from haloquant.lm.calibration.by_block import collect_by_block  # needs torch

        if layers.fisher == "none":
            stage, kept = layers.name, None
        else:
            blocks = sorted({layer.block or 0 for layer in missing.values()})
            kept = StoredStatistics(self.steps, self.key)
            with self.meter.stage("read statistics"):
                files = kept.find(blocks)
            if files is not None:
                return "read statistics", self._read(files, self.counter(f"read statistics to {layers.name}"))
            stage, self._calibrated = "calibrate again" if self._calibrated else "calibrate", True
        stored = StoredStates(self.steps, self.key, layers.name)
        self.steps.root.mkdir(parents=True, exist_ok=True)
        block: dict[str, LayerStatistics] = {}

        def finish(blocks: int, states: np.ndarray | None) -> None:
            if block and layers.kept and kept is not None and kept.have_room(block, self._blocks - blocks + 1):
                kept.save(blocks - 1, block)
            block.clear()
            if states is not None:
                stored.save(blocks, states, missing.values())

        def remembered(
            found: Iterator[tuple[LinearLayer, LayerStatistics]],
        ) -> Iterator[tuple[LinearLayer, LayerStatistics]]:
            for layer, known in found:
                block[layer.name] = known
                yield layer, known

        found = collect_by_block(
            self._checkpoint,
            self._request.calibration,
            layers.fisher,
            seed=self._request.recipe.seed,
            progress=self.counter(f"calibrate to {layers.name}"),
            shards=lambda function, works: self._session.run(function, (Work(*work) for work in works)),
            begin=stored.resume(missing.values()),
            passed=finish,
            value_hessian=self._request.recipe.quantize.value_hessian,
            dtype=self._request.recipe.quantize.calibration_dtype,
            device=self._request.device,
            turn=device_turn,
            spool=self.steps.root,
        )
        return stage, remembered(found)

    def _read(
        self, files: Mapping[int, Path], tell: Callable[[int, int], None]
    ) -> Iterator[tuple[LinearLayer, LayerStatistics]]:
        """Yield the layers of blocks with the statistics that an earlier pass kept in files."""
        from haloquant.lm.calibration.statistics_file import load_statistics

        for done, (block, file) in enumerate(files.items()):
            known = load_statistics(file)
            for layer in self._checkpoint.layers:
                if (layer.block or 0) == block:
                    yield layer, known.pop(layer.name)
            tell(done + 1, len(files))

    def _metered(
        self, stage: str, found: Iterator[tuple[LinearLayer, LayerStatistics | None]]
    ) -> Iterator[tuple[LinearLayer, LayerStatistics | None]]:
        """Yield the same items, and count the time of making them to this stage."""
        if self._request.calibration is None:
            yield from found
            return
        while True:
            with self.meter.stage(stage):
                item = next(found, None)
            if item is None:
                return
            yield item


def _save(step: LayerStep, layer: LinearLayer, made: Any, arrays: Arrays, folder: Path) -> None:
    step.save(folder, layer, made, arrays)
