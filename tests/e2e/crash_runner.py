"""Kill a quantization at random moments, again and again, until it has been killed `kills` times; then let it finish.

Run as a process of its own: it imports everything once and forks a child per attempt, so that an attempt costs
milliseconds, not the seconds of starting Python. Prints how many kills hit and how many layers the last run reused.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

os.environ["NUMBA_NUM_THREADS"] = "1"

from haloquant.config import Hardware, Recipe
from haloquant.lm.checkpoint import open_checkpoint
from haloquant.pipeline import stream
from haloquant.store.profiles import find_profile


def quantize(model: Path, out: Path) -> stream.Stream:
    recipe = Recipe(hardware=Hardware(tile=32))
    asked = stream.Asked(find_profile("default"), "bal", recipe, None, "nothing")
    return stream.quantize_checkpoint(open_checkpoint(model), asked, out)


def attempt(model: Path, out: Path, delay_s: float) -> bool:
    """Whether the child was killed before it was done."""
    child = os.fork()
    if child == 0:
        quantize(model, out)
        os._exit(0)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main() -> None:
    model, folder, kills, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    # Compile in this process, so that a child's time is spent on work and files.
    whole = folder / "whole"
    quantize(model, whole)
    begin = time.monotonic()
    quantize(model, folder / "timed")
    length = time.monotonic() - begin
    shutil.rmtree(folder / "timed")
    random.seed(seed)
    out, hit, rounds = folder / "killed", 0, 0
    while hit < kills:
        # A rerun goes on where the killed one was, so a fresh start is needed once the model is whole.
        if out.exists():
            shutil.rmtree(out)
            rounds += 1
        hit += attempt(model, out, random.uniform(0, length / 4))
    last = None if out.exists() else quantize(model, out)
    print(json.dumps({"hit": hit, "rounds": rounds, "reused": 0 if last is None else last.reused, "length_s": length}))


if __name__ == "__main__":
    main()
