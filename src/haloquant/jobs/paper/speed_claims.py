"""Speed: figures 8, 11 and 12 and the headline numbers, from the published effective bits and the paper's clocks."""

from collections.abc import Mapping, Sequence
from statistics import mean

from haloquant.jobs.paper.clock_mix import (
    Shares,
    array_points,
    gpu_points,
    relative_time,
    shares_of_bits,
    shares_of_speed,
)
from haloquant.records import OperatingPoint
from haloquant.report.paper.rows import ClaimRow, Verdict
from haloquant.store.paper_figures import MODELS, effective_bits, read_bars, read_statements
from haloquant.store.targets import read_systolic

TOLERANCE = 0.05  # of a bar: the reading, and bits that are printed with two decimals
# Headlines that the paper's own figures show in part: against another baseline, or in one model of six.
PARTLY = ("speed-average", "small-tiles-speed")
_MIX = "share of fast tiles / 3.7 GHz + share of slow tiles / 2.4 GHz, shares from table 2's effective bits"
_GPU_MIX = "the same shares with the GPU's 2.8 and 2.0 GHz over 1.5 GHz"
_INFERRED = "the paper prints no bits for this model; shares solved from figure 8, then applied to the GPU's clocks"
_NO_BAR = f"no figure shows it; by the published bits and the clocks it would be this: {_MIX}"


def published(figure: int, system: str) -> dict[str, float]:
    """Return the bars of one system in one figure, by model."""
    return {bar.model: bar.value for bar in read_bars() if (bar.figure, bar.system) == (figure, system)}


def float_rate() -> float:
    """Return the rate of 16-bit floating point over that of 8-bit integers on the paper's machine."""
    return read_systolic("paper_tpu").array.float_rate


def bal_shares() -> dict[str, Shares]:
    """Return the shares of the classes in bal at tile 128 by model: from its bits, or those that figure 8 implies."""
    bits, bars = effective_bits("bal", 128), published(8, "w8a8")
    return {
        model: shares_of_bits(bits[model]) if model in bits else shares_of_speed(bars[model], array_points())
        for model in MODELS
    }


def clock_verdict(ours: float, paper: float, tolerance: float = TOLERANCE) -> Verdict:
    """Return the verdict on a number that only the paper's clocks or figures give."""
    off = abs(ours / paper - 1)
    return "follows from its clocks" if off <= tolerance else "partly" if off <= 2 * tolerance else "not reproduced"


def speed_rows(fair: Mapping[tuple[str, str], float]) -> list[ClaimRow]:
    """Return the rows of figures 8, 11 and 12, and of the headline speeds.

    Args:
        fair: time of a rival over HALO's, by (rival, model), on a machine where each rival runs as fast as its own
            values allow (`fair_machines.fair_ratios`).
    """
    return [*_figure_8(fair), *_narrow(fair), *_variants(), *_figure_11(), *_figure_12(), *_headlines(fair)]


def _speeds(goal: str, tile: int, points: Sequence[OperatingPoint]) -> dict[str, float]:
    """Return W8A8's time over that of a variant, by model, for the models whose bits are published."""
    return {k: 1 / relative_time(shares_of_bits(bits), points) for k, bits in effective_bits(goal, tile).items()}


def _figure_8(fair: Mapping[tuple[str, str], float]) -> list[ClaimRow]:
    rows: list[ClaimRow] = []
    ours = _speeds("bal", 128, array_points())
    for system, rate in (("w8a8", 1.0), ("fp16", float_rate())):
        for model, paper in published(8, system).items():
            known, claim = fair.get((system, model)), f"array: {system} time over bal time, {model}"
            if model not in ours:
                why = "its effective bits are not published; figure 12 tests the shares that this bar implies"
                rows.append(ClaimRow("figure 8", claim, "ratio", paper, None, known, "not judged", why))
                continue
            value = ours[model] / rate
            why = _MIX if system == "w8a8" else f"{_MIX}; floating point at {rate:g} of the integer rate"
            rows.append(ClaimRow("figure 8", claim, "ratio", paper, value, known, clock_verdict(value, paper), why))
    return rows


def _narrow(fair: Mapping[tuple[str, str], float]) -> list[ClaimRow]:
    """Return the rows on the narrow rivals, which the paper times near the base clock."""
    models = effective_bits("bal", 128)
    ratio = read_statements()["w4a8-time"].value
    paper = mean(published(8, "w8a8")[model] for model in models) * ratio
    rows: list[ClaimRow] = []
    for system, number, why in (
        (
            "w4a8",
            paper,
            f"the paper times W4A8 at {ratio:g} of W8A8's time, so near the base clock. Its integers on the upper bits "
            "of the weight port are HALO's sixteen words and meet their clock",
        ),
        (
            "w3a8",
            None,
            "3-bit integers on the upper bits are HALO's fast words, in every tile: faster than any mix of classes",
        ),
    ):
        known = [fair[system, model] for model in models if (system, model) in fair]
        claim = f"array: {system} time over bal time, mean of four models"
        verdict: Verdict = "not reproduced" if number else "not judged"
        rows.append(ClaimRow("figure 8", claim, "ratio", number, None, mean(known) if known else None, verdict, why))
    return rows


def _variants() -> list[ClaimRow]:
    """Return the ends of the ranges that figure 8 shows for perf-opt and acc-opt."""
    rows: list[ClaimRow] = []
    said = read_statements()
    for goal in ("perf-opt", "acc-opt"):
        speeds = _speeds(goal, 128, array_points()).values()
        for end, value in (("least", min(speeds)), ("most", max(speeds))):
            paper = said[f"{goal}-speed-{end}"].value
            claim = f"array: W8A8 time over {goal} time, {'lowest' if end == 'least' else 'highest'} of the models"
            rows.append(ClaimRow("figure 8", claim, "ratio", paper, value, None, clock_verdict(value, paper), _MIX))
    return rows


def _figure_11() -> list[ClaimRow]:
    rows: list[ClaimRow] = []
    small, large = _speeds("bal", 32, array_points()), _speeds("bal", 128, array_points())
    ours = {"w8a8": small, "halo-128 bal": {model: small[model] / large[model] for model in small}}
    for system, values in ours.items():
        for model, paper in published(11, system).items():
            claim = f"array: {system} time over bal time at tile 32, {model}"
            if model in values:
                value, verdict, why = values[model], clock_verdict(values[model], paper), _MIX
            else:
                value = _from_other_bars(system, model)
                verdict = "consistent" if abs(value / paper - 1) <= TOLERANCE else "not reproduced"
                why = (
                    "the effective bits of this model are not published. Figure 8's W8A8 over bal at tile 128, times "
                    "figure 11's bal at tile 128 over tile 32, is figure 11's W8A8: three bars, and no clock"
                )
            rows.append(ClaimRow("figure 11", claim, "ratio", paper, value, None, verdict, why))
    for model, value in _speeds("bal", 64, array_points()).items():
        claim = f"array: w8a8 time over bal time at tile 64, {model}"
        rows.append(ClaimRow("figure 11", claim, "ratio", None, value, None, "not judged", _NO_BAR))
    return rows


def _from_other_bars(system: str, model: str) -> float:
    """Return a bar of figure 11 as its other bar and figure 8's give it."""
    coarse = published(8, "w8a8")[model]
    if system == "w8a8":
        return coarse * published(11, "halo-128 bal")[model]
    return published(11, "w8a8")[model] / coarse


def _figure_12() -> list[ClaimRow]:
    rows: list[ClaimRow] = []
    shares, known = bal_shares(), effective_bits("bal", 128)
    for model, paper in published(12, "w8a8").items():
        value = 1 / relative_time(shares[model], gpu_points())
        claim = f"GPU: w8a8 time over bal time, {model}"
        why = _GPU_MIX if model in known else _INFERRED
        rows.append(ClaimRow("figure 12", claim, "ratio", paper, value, None, clock_verdict(value, paper), why))
    return rows


def faster(name: str) -> str:
    """Return how much faster a statement of the text says that HALO is: `353 %` for a ratio of 4.53."""
    return f"{100 * (read_statements()[name].value - 1):.0f} %"


def _headlines(fair: Mapping[tuple[str, str], float]) -> list[ClaimRow]:
    said, rate, points = read_statements(), float_rate(), array_points()
    bits, known = effective_bits("bal", 128), _speeds("bal", 128, points)
    average = mean(1 / relative_time(shares, points) for shares in bal_shares().values()) / rate
    best, small = max(known, key=lambda model: known[model]), published(11, "halo-128 bal")
    ratios = [
        relative_time(shares_of_bits(bits[k]), points)
        / relative_time(shares_of_bits(effective_bits("bal", 32)[k]), points)
        for k in bits
    ]
    fp16 = [value for (system, _), value in fair.items() if system == "fp16"]
    eight = published(8, "w8a8").values()
    rows: list[tuple[str, str, float, float | None, str]] = [
        (
            "speed-average",
            f"HALO is {faster('speed-average')} faster on average than baseline quantization methods",
            average,
            mean(fp16) if fp16 else None,
            "it holds against 16-bit floating point only: ours is the mean over seven models of figure 8's FP16 over "
            "bal, by its clocks; three of the seven are the figure's own bars. Against W8A8 the same figure shows "
            f"{min(eight):.2f} to {max(eight):.2f} times. The wording is that of arXiv's abstract; that of the "
            "AAAI abstract is not among the data",
        ),
        (
            "speed-largest",
            f"HALO is up to {faster('speed-largest')} faster than FP16",
            known[best] / rate,
            fair.get(("fp16", best)),
            f"{best}'s bar: its mix over the base clock, over floating point at {rate:g} of the integer rate",
        ),
        (
            "speed-over-quantized",
            f"HALO is up to {faster('speed-over-quantized')} faster than other quantized models",
            known[best],
            fair.get(("w4a8", best)),
            f"{best} against W8A8 at the base clock; the fair side is against W4A8 on the upper bits of the weight "
            "port, whose integers meet the same clock as the sixteen words",
        ),
        (
            "small-tiles-speed",
            f"tiles of 32 are {faster('small-tiles-speed')} faster than tiles of 128",
            mean(ratios),
            None,
            f"mean of four models; the figure's own bars lie between {min(small.values()):g} and "
            f"{max(small.values()):g}, and {sum(bar >= said['small-tiles-speed'].value for bar in small.values())} of "
            f"{len(small)} reach {faster('small-tiles-speed')}. The gain is fewer slow tiles, counted on an "
            "array whose speed does not depend on its size",
        ),
    ]
    return [
        ClaimRow(said[name].where, claim, "ratio", said[name].value, ours, known,
                 "partly" if name in PARTLY else clock_verdict(ours, said[name].value), why)
        for name, claim, ours, known, why in rows
    ]  # fmt: skip
