"""Compute all tables of docs/results.md again from a model, a calibration text and two held-out texts.

    python bench/tables.py --data FOLDER [--model demo] [--work FOLDER] [--results docs/results.md] [--only SET ...]
        [--tokens 24576] [--short 8192] [--samples 32] [--hold-back]
    python bench/tables.py --data FOLDER --only whole own      # whole texts, an hour and a half of one core

`--data` holds books_test, books_valid, wikitext2_raw_test and tinystories_valid (.txt.xz). Finished rows are stored as
JSON in `--work`, so an interrupted run continues. If the model has changed, its hash differs and the folder is refused:
remove it. Each table is written between `<!-- table: NAME -->` and `<!-- end -->`; other text is left unchanged. With
`--hold-back` tables are only printed. All sets except the whole texts take about 30 CPU minutes with one thread.
"""

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import activations
from ablation import Lab, complete, methods
from ablation_table import difference, signed, table
from aims import BAL, BOOKS, NINE, SIXTEEN, Rows, aims, verdict
from whole import FLOOR, WHOLE
from whole import complete as complete_whole

from haloquant.jobs.inputs import model_folder
from haloquant.lm.checkpoint.reader import content_hash, open_checkpoint
from haloquant.lm.text import load_text

FOREIGN = "wikitext2"
LONG = (
    SIXTEEN,
    NINE,
    BAL,
    "gptq-w4-g128",
    "gptq-w3-g128",
    "gptq-w3-g64",
    "squeezellm-w3",
    "slim-w3-g128",
    "boa-w3-g128",
    "halo-bal cumulative",
    "halo-bal random",
    "halo-bal + awq",
    "halo-bal + smoothquant",
)
RIVALS_BY_NAME = ("squeezellm", "spqr", "slim", "boa", "zeroquant", "fbquant")
WHOLE_ROWS = LONG[:7]
# With 8-bit activations too, on whole texts; no integer MAC runs SqueezeLLM's words.
ROUNDED = (*LONG[:4], "gptq-w3-g128", "gptq-w3-g64")
ACTIVATIONS = (SIXTEEN, NINE, BAL, "gptq-w4-g128", "rtn-w8")
OTHERS = ("rtn-*", "awq-*", "gptq-*-g128", "gptq-*-g64", *(f"{x}-*" for x in RIVALS_BY_NAME))
FULL = ("halo-*", *OTHERS)
STORIES = (
    SIXTEEN,
    "halo-16 any words",
    "gptq-w4-g32",
    NINE,
    "halo-9 any words",
    "gptq-w3-g32",
    "gptq-w3-g24",
    "squeezellm-w3",
    BAL,
)
SHIPPED = ("halo-16 refined", "halo-9 refined*", BAL, "gptq-w?-g128", "squeezellm-w3")
MACS = (
    "asap7-digitsdadda_ks-mul-abc",
    "asap7-boothwdadda_bk-mul-abc",
    "asap7-sxarray_rca-mul-fa",
    "asap7-smdadda_ks-mul-abc",
    "nangate45-digitsdadda_ks+both-mul-abc",
    "sky130hd-boothwdadda_bk-mul-abc",
)
SHARED = ("model", "weights", "known", "evaluation", "sample")  # what does not depend on the MAC
STEPS = ("max-abs", "per channel", "per channel and tile", "sparse", "compensated", "refined")
SETS = ("long", "full", "shipped", "macs", "stories", "activations")


def samples(sets: dict[str, Any]) -> str:
    """Return the table of the texts: tokens that were predicted, and the perplexity in full precision."""
    lines = ["| sample | predicted tokens | full precision |", "|---|---|---|"]
    for name, text, label in (
        ("whole", BOOKS, "books, whole"),
        ("whole", FOREIGN, "wikitext2, whole"),
        ("long", BOOKS, "books, longer"),
        ("full", BOOKS, "books"),
        ("full", FOREIGN, FOREIGN),
    ):
        found = sets[name]["rows"]["full precision"][text]
        lines.append(f"| {label} | {found['tokens']:,} | {found['perplexity']:.2f} |")
    return "\n".join(lines)


def gains(sets: dict[str, Any]) -> str:
    """What every step changes against the one before it, on books."""
    rows = sets["full"]["rows"]
    lines = ["| step | 16 words | 9 words |", "|---|---|---|"]
    pairs = [
        *zip(STEPS[1:], STEPS[:-1], strict=True),
        ("refined, no sparse", "refined"),
        ("any words", "refined, no sparse"),
    ]
    for after, before in pairs:
        cells = [signed(*difference(rows, f"halo-{n} {after}", f"halo-{n} {before}", BOOKS)) for n in (16, 9)]
        lines.append(f"| {after} instead of {before} | {' | '.join(cells)} |")
    cells = [signed(*difference(rows, BAL, f"halo-{n} refined", BOOKS)) for n in (16, 9)]
    lines.append(f"| allocation: *bal* instead of refined in one class | {' | '.join(cells)} |")
    for kind in ("awq", "smoothquant"):
        cell = signed(*difference(rows, f"halo-bal + {kind}", BAL, BOOKS))
        lines.append(f"| pre-transform: *bal* + {kind} instead of *bal* | {cell} | (the same) |")
    lines += ["", "| choice at *bal* | books | books, longer, shipped calibration |", "|---|---|---|"]
    for after, before in (
        (BAL, "halo-bal cumulative"),
        (BAL, "halo-bal random"),
        ("halo-bal + awq", BAL),
        ("halo-bal + smoothquant", BAL),
    ):
        cells = [signed(*difference(part, after, before, BOOKS)) for part in (rows, sets["long"]["rows"])]
        lines.append(f"| {after} instead of {before} | {' | '.join(cells)} |")
    return "\n".join(lines)


def macs(sets: dict[str, Any]) -> str:
    """Accuracy and clock of both classes by MAC, and 9 words against the 3-bit rivals."""
    rivals = sets["long"]["rows"]
    lines = [
        "| MAC | clock of 16, of 9 words | 16 words | less GPTQ int4 g128 | 9 words | less GPTQ int3 g128 "
        "| less SqueezeLLM 3-bit |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("default", *MACS):
        part = sets["long" if name == "default" else f"mac-{name}"]
        ratio = {k: part["hardware"][k]["clock_ratio"] for k in ("slow", "fast")}
        merged = rivals | part["rows"]
        cells = [f"`{name}`", f"{ratio['slow']:.2f}×, {ratio['fast']:.2f}×"]
        for ours, others in ((SIXTEEN, ("gptq-w4-g128",)), (NINE, ("gptq-w3-g128", "squeezellm-w3"))):
            cells.append(f"{merged[ours][BOOKS]['perplexity']:.2f} at {merged[ours]['bits']:.2f} bits")
            for theirs in others:
                gap = difference(merged, ours, theirs, BOOKS)
                cells.append(f"{signed(*gap)}, {verdict(*gap)}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ordered(rows: Rows) -> Rows:
    """Rows in the order in which `ablation.py` names them, whenever they were made."""
    places = {name: place for place, name in enumerate(["full precision", *methods()])}
    return dict(sorted(rows.items(), key=lambda item: places[item[0]]))


def tables(sets: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Every table by its name in the document; each needs one or two of the sets."""

    def part(name: str, patterns: list[str]) -> Callable[[], str]:
        return lambda: table(ordered(sets[name]["rows"]), ["full precision", *patterns])

    return {
        "samples": lambda: samples(sets),
        "aims": lambda: aims(("whole", sets["whole"]["rows"]), ("longer sample", sets["long"]["rows"])),
        "aims-own": lambda: aims(("whole", sets["own"]["rows"])),
        "long": part("long", ["*"]),
        "steps-16": part("full", ["halo-16 *"]),
        "steps-9": part("full", ["halo-9 *"]),
        "gains": lambda: gains(sets),
        "allocation": part("full", ["halo-bal *"]),
        "whole": part("whole", ["*"]),
        "whole-own": part("own", ["*"]),
        "rivals": part("full", list(OTHERS)),
        "activations": lambda: activations.table(sets["activations"]["rows"]),
        "shipped-calibration": part("shipped", ["*"]),
        "macs": lambda: macs(sets),
        "stories": part("stories", ["*"]),
    }


def fill(text: str, made: dict[str, str]) -> str:
    """The document with the tables between their markers; a table without its markers is an error."""
    for name, lines in made.items():
        pattern = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.S)
        if not pattern.search(text):
            raise SystemExit(f"the document must have the markers <!-- table: {name} --> and <!-- end -->")
        text = pattern.sub(lambda found, lines=lines: found[1] + lines + "\n" + found[2], text, count=1)
    return text


def stories(asked: argparse.Namespace) -> Lab:
    """stories260K, calibrated by the first half of its own kind of text and judged by the second, in tiles of 32."""
    text = load_text(asked.data / "tinystories_valid.txt.xz")
    files = []
    for name, part in (("calibration", text[: len(text) // 2]), ("test", text[len(text) // 2 :])):
        files.append(asked.work / f"stories-{name}.txt")
        files[-1].write_text(part)
    folder = asked.stories or asked.data.parent / "models" / "stories260K"
    return Lab(folder, "default", str(files[0]), asked.samples, {"stories": str(files[1])}, asked.tokens, 32)


def keep(file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the rows that are stored in a file; none if there is no file yet."""
    kept = json.loads(file.read_text()) if file.exists() else {"settings": settings, "rows": {}}
    if kept["settings"] != settings:
        raise SystemExit(f"{file} must hold rows of this model and these settings, not others: remove it")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--stories", type=Path, help="stories260K; models/stories260K beside --data where not given")
    parser.add_argument("--work", type=Path, default=Path("tables.work"))
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--only", nargs="*", default=list(SETS), help=f"sets of rows: {', '.join(SETS)}, whole, own")
    parser.add_argument("--tokens", type=int, default=24576, help="of the long sample of books")
    parser.add_argument("--short", type=int, default=8192, help="of the tables of steps and rivals")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--hold-back", action="store_true", help="print tables, write none")
    asked = parser.parse_args()
    folder = model_folder(asked.model)
    asked.work.mkdir(parents=True, exist_ok=True)
    texts = {BOOKS: str(asked.data / "books_test.txt.xz"), FOREIGN: str(asked.data / "wikitext2_raw_test.txt.xz")}
    own = str(asked.data / "books_valid.txt.xz")

    def lab(calibration: str, names: tuple[str, ...], tokens: int, profile: str = "default") -> Lab:
        return Lab(folder, profile, calibration, asked.samples, {n: texts[n] for n in names}, tokens, 128)

    settings = {"model": content_hash(open_checkpoint(folder)), "tokens": [asked.tokens, asked.short, asked.samples]}
    sets: dict[str, Any] = {}

    def run(name: str, bench: Lab, patterns: tuple[str, ...], plain_only: tuple[str, ...] = ()) -> None:
        kept = keep(file := asked.work / f"{name}.json", settings)
        if any(name.startswith(part.removesuffix("s")) for part in asked.only):
            began = time.process_time()
            complete(bench, kept, patterns, file, plain_only)
            print(json.dumps({"set": name, "cpu_s": round(time.process_time() - began, 1)}), flush=True)
        sets[name] = kept

    of_model = {"model": settings["model"], "samples": asked.samples}
    sets["whole"] = kept = keep(file := asked.work / "whole.json", of_model)
    if "whole" in asked.only:
        complete_whole(lab("demo", (BOOKS, FOREIGN), WHOLE), kept, WHOLE_ROWS, ROUNDED, file)
    sets["own"] = kept = keep(file := asked.work / "own.json", of_model)
    if "own" in asked.only:
        floor = sets["whole"]["rows"].get(FLOOR, {})
        kept["rows"].setdefault(FLOOR, {BOOKS: floor[BOOKS]} if BOOKS in floor else {})  # calibration is nothing to it
        complete_whole(lab(own, (BOOKS,), WHOLE), kept, WHOLE_ROWS, (), file)
    sets["activations"] = kept = keep(file := asked.work / "activations.json", settings)
    if "activations" in asked.only:
        activations.complete(lab(own, (BOOKS,), asked.short), kept, ACTIVATIONS, file)
    first = lab("demo", (BOOKS,), asked.tokens)
    run("long", first, LONG)
    for name in MACS:
        other = lab("demo", (BOOKS,), asked.tokens, name)
        if "macs" in asked.only:
            vars(other).update({part: getattr(first, part) for part in SHARED})
        run(f"mac-{name}", other, (SIXTEEN, NINE), (BOOKS,))
    short = lab(own, (BOOKS, FOREIGN), asked.short)
    run("full", short, FULL, (FOREIGN,))
    run("shipped", lab("demo", (BOOKS, FOREIGN), asked.short), SHIPPED, (FOREIGN,))
    run("stories", stories(asked), STORIES)
    made: dict[str, str] = {}
    for name, draw in tables(sets).items():
        try:
            made[name] = draw()
        except (KeyError, StopIteration):  # of a set that was not asked for and is not kept
            print(json.dumps({"table": name, "left as it is": "its rows are not there"}), flush=True)
    if asked.hold_back:
        print("\n\n".join(f"{name}\n\n{lines}" for name, lines in made.items()))
        return
    asked.results.write_text(fill(asked.results.read_text(), made))
    print(json.dumps({"written": sorted(made), "into": str(asked.results)}))


if __name__ == "__main__":
    main()
