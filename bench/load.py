"""Measure each step of loading a packed model. The floor is reading the file from the disk.

python bench/load.py --hidden 1024 --blocks 4
python bench/load.py --folder MODEL-HALO        # a packed model that is there: cold (forgotten by the system) and warm
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import haloquant
from haloquant.lm.checkpoint.reader import Checkpoint, open_checkpoint
from haloquant.lm.export.packed import export_packed
from haloquant.lm.packed.reader import PackedModel, check_digest, open_packed, read_layer, shard_files
from haloquant.quant.format.bit_layout import count_wrong
from haloquant.quant.format.packing import pack, sizes_of
from haloquant.quant.sparse import no_sparse_weights
from haloquant.quant.tiles import make_grid
from haloquant.records import QuantizedWeight, TileMap
from support.halo_layers import codebooks
from support.tiny_model import save_llama


def random_layers(checkpoint: Checkpoint) -> Iterator[QuantizedWeight]:
    """Write random codes for every layer, half of the tiles with nine words; loading does not depend on the codes."""
    generator = np.random.default_rng(0)
    for layer in checkpoint.layers:
        grid = make_grid(layer.out_features, layer.in_features)
        classes = generator.integers(0, 2, (grid.down, grid.across)).astype(np.uint8)
        limit = np.where(classes, 9, 16).repeat(128, 0).repeat(128, 1)[: layer.out_features, : layer.in_features]
        codes = (generator.random(limit.shape, np.float32) * limit).astype(np.uint8)
        scale = np.full((layer.out_features, grid.across), 2.0**-10, np.float32)
        yield QuantizedWeight(
            layer.name,
            codes,
            scale,
            TileMap(layer.name, grid, classes),
            codebooks(),
            no_sparse_weights(layer.out_features),
        )


def timed(run: Callable[[], object], repeats: int = 3) -> dict[str, float]:
    """Best wall and CPU seconds."""
    wall, used = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - start)
        used.append(time.process_time() - start_cpu)
    return {"wall_s": min(wall), "cpu_s": min(used)}


def read_from_disk(file: Path) -> None:
    """Read the whole file after asking the system to forget it."""
    handle = os.open(file, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    while os.read(handle, 1 << 22):
        pass
    os.close(handle)


def forget(files: list[Path]) -> None:
    """Ask the system to drop the files from its page cache."""
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def read_all(files: list[Path]) -> None:
    """Read all bytes, in order, in pieces of 4 MiB into one buffer."""
    buffer = bytearray(1 << 22)
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def measure_folder(folder: Path, repeats: int) -> dict[str, object]:
    """Time plain reading, hashing and loading in turn, cold and warm; return the best wall-clock and CPU seconds."""
    files = shard_files(folder)
    model = open_packed(folder)
    runs = {
        "read all bytes": lambda: read_all(files),
        "digest of every tensor": lambda: check_digest(model.config, model.tensors),
        "from_pretrained": lambda: haloquant.load(folder),
    }
    haloquant.load(folder)  # imports, and what numba compiled is fetched
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            forget(files)
            found.setdefault(f"{name}, cold", []).append(timed(run, 1))
            found.setdefault(f"{name}, warm", []).append(timed(run, 1))
    best = {name: {clock: min(one[clock] for one in many) for clock in many[0]} for name, many in found.items()}
    ratios = {
        state: best[f"from_pretrained, {state}"]["wall_s"] / best[f"read all bytes, {state}"]["wall_s"]
        for state in ("cold", "warm")
    }
    size = sum(file.stat().st_size for file in files)
    head = {"bytes": size, "load_average": os.getloadavg()[0], "cores_as_seen": os.cpu_count()}
    return head | {"best": best, "load_over_reading": ratios, "all": found}


def check_codes(model: PackedModel) -> None:
    """The pass over all codes that loading makes."""
    for layer in model.config.layers:
        q = LAYERS[layer]
        count_wrong(PACKED[layer], q.tiles.codebook, sizes_of(q.codebooks), q.tiles.grid)


LAYERS: dict[str, QuantizedWeight] = {}
PACKED: dict[str, np.ndarray] = {}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="measure this packed model instead of making one")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        print(json.dumps(measure_folder(arguments.folder, arguments.repeats), indent=1))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {"hidden_size": arguments.hidden, "intermediate_size": 4 * arguments.hidden}
        checkpoint = open_checkpoint(save_llama(folder / "plain", **sizes, num_hidden_layers=arguments.blocks))
        exported = export_packed(
            checkpoint, random_layers(checkpoint), folder / "packed", profile_name="none", profile_sha256="0" * 64
        )
        small = open_checkpoint(save_llama(folder / "plain-small"))
        export_packed(small, random_layers(small), folder / "small", profile_name="none", profile_sha256="0" * 64)
        model = open_packed(folder / "packed")
        for layer in model.config.layers:
            LAYERS[layer] = read_layer(model, layer)
            PACKED[layer] = pack(LAYERS[layer])["weight_packed"]
        check_codes(model)
        haloquant.load(folder / "small")
        file = folder / "packed" / "model.safetensors"
        steps = {
            "floor: read the file from the disk": timed(lambda: read_from_disk(file)),
            "digest of every tensor": timed(lambda: check_digest(model.config, model.tensors)),
            "pass over all codes": timed(lambda: check_codes(model)),
            "whole load, file in the page cache": timed(lambda: haloquant.load(folder / "packed")),
            "whole load of a model of 0.1 M weights": timed(lambda: haloquant.load(folder / "small")),
            "for comparison: unpack all layers": timed(lambda: [read_layer(model, n) for n in model.config.layers], 1),
        }
    for step in steps.values():
        step["bytes_per_cpu_s"] = exported.total_bytes / step["cpu_s"]
    print(json.dumps({"weights": exported.bits.weights, "bytes": exported.total_bytes, "steps": steps}, indent=1))


if __name__ == "__main__":
    main()
