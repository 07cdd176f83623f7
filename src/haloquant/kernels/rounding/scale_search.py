"""Search of one scale per (row, tile) in torch: the algorithm of `quant.rounding.scale_search`.

The trials are compared in the same order, and the same float32 products decide which word is nearest. Only the sums of
a tile are added in another order (here in float64). A GPU searches in a Triton kernel, which holds the weights of a
tile in registers.
"""

# A Triton kernel is launched with options that its signature does not list:
# pyright: reportCallIssue=false

import torch

from haloquant.kernels.rounding.column_steps import use_triton
from haloquant.kernels.rounding.word_tensors import WordTensors, power_of_two, rows_at_once, tiled
from haloquant.quant.float16 import LARGEST, SMALLEST
from haloquant.quant.rounding.scale_search import ROUNDS

WARP_WEIGHTS = 256  # most weights that a warp holds in registers
LONGEST = 16 * WARP_WEIGHTS  # inputs of the longest tile that the Triton kernel takes


def search(
    weight: torch.Tensor, importance: torch.Tensor, classes: torch.Tensor, words: WordTensors, tile_in: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one scale per (row, tile), and the codes of the nearest words.

    Args:
        weight: float32 [rows, in], with 0 at the places of sparse weights.
        importance: float32 [rows, in], or [1, in] for all rows.
        classes: class of each (row, tile), int64 [rows, across].
        words: the codebooks.
        tile_in: inputs of a tile.

    Returns:
        Scales that float16 holds exactly, float32 [rows, across]; codes, uint8 [rows, in].
    """
    fits = min(tile_in, weight.shape[1]) <= LONGEST
    run = launch_search if fits and use_triton(weight.device) else plain_search
    return run(weight, importance, classes, words, tile_in)


def launch_search(
    weight: torch.Tensor, importance: torch.Tensor, classes: torch.Tensor, words: WordTensors, tile_in: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the same as `search` with the Triton kernel. A tile has at most `LONGEST` inputs."""
    from haloquant.kernels.triton.scale_search import search_kernel  # imports Triton

    (rows, inputs), across = weight.shape, classes.shape[1]
    scale = torch.empty(classes.shape, device=weight.device)
    codes = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
    cols = power_of_two(min(tile_in, inputs))
    sides = [_Side(table, words.sizes) for table in (words.words, words.mirrored)]
    first, middles, steps = (
        torch.stack([getattr(one, part) for one in sides]) for part in ("first", "middles", "steps")
    )
    with torch.cuda.device_of(weight):  # Triton launches on the current device
        search_kernel[(rows * across,)](
            weight.contiguous(), importance.contiguous(), classes.contiguous(), first, middles, steps, words.reach,
            words.ratios, words.trials, words.signs, words.sizes, words.zeros, scale, codes, inputs, across,
            len(words.sizes), tile_in, words.ratios.shape[1], ROUNDS, LARGEST, SMALLEST, COLS=cols,
            LIMITS=words.most - 1, TWO_SIDED=words.two_sided, SHARED=importance.shape[0] == 1,
            num_warps=max(1, cols // WARP_WEIGHTS), enable_fp_fusion=False,
        )  # fmt: skip
    return scale, codes


def plain_search(
    weight: torch.Tensor, importance: torch.Tensor, classes: torch.Tensor, words: WordTensors, tile_in: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the same as `search` in plain torch."""
    scale = torch.empty(classes.shape, device=weight.device)
    codes = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
    step = rows_at_once(weight.shape[1])
    for low in range(0, weight.shape[0], step):
        some = slice(low, low + step)
        emphasis = tiled(importance if importance.shape[0] == 1 else importance[some], tile_in)
        tiles = _Tiles(tiled(weight[some], tile_in), emphasis, classes[some], words)
        scale[some], found = tiles.search()
        codes[some] = found.flatten(1)[:, : weight.shape[1]]
    return scale, codes


class _Tiles:
    """Tiles of some rows: weights [rows, across, tile], their importance, and what their classes allow."""

    def __init__(self, weight: torch.Tensor, emphasis: torch.Tensor, kinds: torch.Tensor, words: WordTensors) -> None:
        self.weight, self.emphasis, self.kinds, self.words = weight, emphasis, kinds, words
        self.sides = tuple(_Side(table, words.sizes) for table in (words.words, words.mirrored))

    def search(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return signed scales [rows, across] and codes [rows, across, tile]."""
        words, kinds = self.words, self.kinds
        trials, signs = words.trials[kinds], words.signs[kinds]
        top = self.weight.abs().amax(2)
        self.unit = top / words.reach[kinds]
        # Kept if all importance is on zero weights: the widest trial scale, so nothing is clipped.
        self.best = self.unit * words.ratios[kinds, trials - 1]
        self.gain = torch.full_like(top, -1.0)
        self.side, self.place = torch.zeros_like(kinds), torch.zeros_like(kinds)
        for trial in range(0, words.ratios.shape[1], 2):  # first every second trial of each side
            for sign in range(1 + words.two_sided):
                self._try(
                    torch.full_like(kinds, trial), torch.full_like(kinds, sign), (trial < trials) & (sign < signs)
                )
        centre = self.place.clone()
        for move in (1, -1):  # then the two neighbours of the best trial
            trial = centre + move
            self._try(trial.clamp(0, words.ratios.shape[1] - 1), self.side, (trial >= 0) & (trial < trials))
        for _ in range(ROUNDS):
            cross, square = self._moments(self._nearest(self.side, self.best))
            self.best = torch.where((square > 0) & (cross > 0), cross / square, self.best)
        best = self.best.clamp(-LARGEST, LARGEST).half().float()
        best = torch.where(best == 0, SMALLEST, best)  # too small for float16
        counts = self._counts(best)
        last = (words.sizes[kinds] - 1)[..., None]
        codes = torch.where(self.side[..., None] == 1, last - counts, counts).to(torch.uint8)
        codes = torch.where(top[..., None] == 0, words.zeros[kinds][..., None], codes)
        return torch.where(top == 0, 0.0, torch.where(self.side == 1, -best, best)), codes

    def _try(self, trial: torch.Tensor, side: torch.Tensor, allowed: torch.Tensor) -> None:
        """Keep a trial where it is allowed and lowers the error by more than the best of before."""
        cross, square = self._moments(self._nearest(side, self.unit * self.words.ratios[self.kinds, trial]))
        fitted = cross / square
        better = allowed & (square > 0) & (cross > 0) & (cross * fitted > self.gain)
        self.gain = torch.where(better, cross * fitted, self.gain)
        self.best = torch.where(better, fitted, self.best)
        self.side = torch.where(better, side, self.side)
        self.place = torch.where(better, trial, self.place)

    def _moments(self, nearest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return A = <w, c> and B = <c, c> of each tile, weighted by importance."""
        product = self.emphasis * nearest
        cross = (product * self.weight).sum(2, dtype=torch.float64).float()
        return cross, (product * nearest).sum(2, dtype=torch.float64).float()

    def _nearest(self, side: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Return the nearest word of every weight, unscaled."""
        first, middles, steps = (self._of_side(side, part) for part in ("first", "middles", "steps"))
        limits = middles * scale[..., None]
        found = first[..., None].expand(self.weight.shape).clone()
        for k in range(limits.shape[2]):  # words are whole numbers, so the order of these sums does not matter
            found += (self.weight > limits[..., k : k + 1]) * steps[..., k : k + 1]
        return found

    def _counts(self, scale: torch.Tensor) -> torch.Tensor:
        """Return the number of midpoints below every weight."""
        limits = self._of_side(self.side, "middles") * scale[..., None]
        found = torch.zeros(self.weight.shape, dtype=torch.int16, device=self.weight.device)
        for k in range(limits.shape[2]):
            found += self.weight > limits[..., k : k + 1]
        return found

    def _of_side(self, side: torch.Tensor, part: str) -> torch.Tensor:
        """Return a table's row of each tile: of the words, or of the mirrored words where `side` is 1."""
        tables = torch.stack([getattr(one, part) for one in self.sides])
        return tables[side, self.kinds]


class _Side:
    """Words of one side: the first of each class, the midpoints (padded with infinity) and the steps between words."""

    def __init__(self, words: torch.Tensor, sizes: torch.Tensor) -> None:
        used = torch.arange(words.shape[1] - 1, device=words.device) < sizes[:, None] - 1
        self.first = words[:, 0].contiguous()
        self.middles = torch.where(used, 0.5 * (words[:, :-1] + words[:, 1:]), torch.inf)
        self.steps = torch.where(used, words[:, 1:] - words[:, :-1], 0.0)
