"""Run one task for each layer of a checkpoint, and keep every finished task as a step on disk.

Workers return their results, and only this process writes them. So if a worker is lost, only the task that it was
running is repeated. If a job is stopped, the few tasks whose results were not written yet are repeated. A calibrated
pass also stores the hidden states after each block, to continue from there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from haloquant.jobs.engine.metering import Meter, metered
from haloquant.jobs.engine.tasks import Arrays, Function, Session, Work
from haloquant.jobs.inputs import Progress
from haloquant.jobs.quantize.hidden_states import StoredStates
from haloquant.jobs.quantize.request import Request
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer
from haloquant.records import LayerStatistics
from haloquant.store.finished_steps import Steps

Fisher = Literal["block", "none"]  # the Fisher argument of `lm.calibration.by_block.collect_by_block`


@dataclass(frozen=True)
class LayerPass:
    """One pass over layers: `function` is run for each, unless its step is finished already.

    `name` is shown as progress. `step` gives the name and the inputs of a layer's step. `work` makes the task's input
    from the layer and its statistics (None without calibration). `save` writes the returned arrays to the step's
    folder. `fisher` says which Fisher information calibration collects.
    """

    name: str
    layers: Sequence[LinearLayer]
    step: Callable[[LinearLayer], tuple[str, object]]
    function: Function
    work: Callable[[LinearLayer, LayerStatistics | None], Work]
    save: Callable[[Path, LinearLayer, Arrays], None]
    fisher: Fisher = "block"


class TaskRunner:
    """Runs passes over the layers of one checkpoint on the workers of a session.

    `folders` holds the folder of every finished step by the step's name.
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
        self.folders: dict[str, Path] = {}
        self._checkpoint, self._request, self._session = checkpoint, request, session

    def run(self, layers: LayerPass) -> int:
        """Run the tasks of the layers that are not finished. Return the number of layers that were finished already."""
        tell, total = self.counter(layers.name), len(layers.layers)
        for layer in layers.layers:
            if (folder := self.steps.find(*layers.step(layer))) is not None:
                self.folders[layers.step(layer)[0]] = folder
        missing = [layer for layer in layers.layers if not self._finished(layers, layer)]
        done = total - len(missing)
        wanted = {layer.name for layer in missing}
        sent: list[LinearLayer] = []
        if done:
            tell(done, total)

        def works() -> Iterator[Work]:
            for layer, known in self._metered(layers, self._statistics(layers, missing)):
                if layer.name not in wanted:
                    continue
                sent.append(layer)
                task = layers.work(layer, known)
                yield Work((layers.function, task.argument), task.arrays)

        with self.meter.stage(layers.name):
            for index, (_, used), arrays in self._session.run(metered, works()):
                layer = sent[index]
                self.meter.add(layer.name.rpartition(".")[2], layer.out_features * layer.in_features, used)
                folder, _ = self.steps.run(
                    *layers.step(layer), lambda at, x=layer, made=arrays: layers.save(at, x, made)
                )
                self.folders[layers.step(layer)[0]] = folder
                done += 1
                tell(done, total)
        StoredStates(self.steps, self.key, layers.name).delete_all()
        return total - len(missing)

    def counter(self, task: str) -> Callable[[int, int], None]:
        """Return a progress function for one task. Its arguments are the number of parts done and of all parts."""
        return lambda done, total: self.progress(task, done, total)

    def _finished(self, layers: LayerPass, layer: LinearLayer) -> bool:
        return layers.step(layer)[0] in self.folders

    def _statistics(
        self, layers: LayerPass, missing: Sequence[LinearLayer]
    ) -> Iterator[tuple[LinearLayer, LayerStatistics | None]]:
        """Yield layers with their statistics from calibration; if no layer is missing, calibration does not run."""
        if self._request.calibration is None or not missing:
            return ((layer, None) for layer in missing)
        from haloquant.lm.calibration.by_block import collect_by_block  # needs torch

        stored = StoredStates(self.steps, self.key, layers.name)

        def save_states(blocks: int, states: np.ndarray) -> None:
            stored.save(blocks, states, (x for x in layers.layers if not self._finished(layers, x)))

        return collect_by_block(
            self._checkpoint,
            self._request.calibration,
            layers.fisher,
            seed=self._request.recipe.seed,
            progress=self.counter(f"calibrate to {layers.name}"),
            shards=lambda function, works: self._session.run(function, (Work(*work) for work in works)),
            begin=stored.resume(missing),
            passed=save_states,
        )

    def _metered(
        self, layers: LayerPass, found: Iterator[tuple[LinearLayer, LayerStatistics | None]]
    ) -> Iterator[tuple[LinearLayer, LayerStatistics | None]]:
        """Yield the same items, and count the time of calibration as a stage of its own."""
        if self._request.calibration is None:
            yield from found
            return
        name = layers.name
        again = name == "quantize" and self._request.goal == "bal"
        stage = {"measure tiles": "calibrate", "quantize": "calibrate again" if again else "calibrate"}.get(name, name)
        while True:
            with self.meter.stage(stage):
                item = next(found, None)
            if item is None:
                return
            yield item
