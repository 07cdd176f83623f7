"""How the decode kernel divides a layer among blocks of threads. Pure arithmetic; `decode.cu` explains the parts."""

from dataclasses import dataclass
from functools import lru_cache

TILE = 128
MOST_TOKENS = 16
DIGITS = {"float32": 3, "bfloat16": 3, "float16": 3, "int8": 1}  # columns of the product for one token
TYPES = tuple(DIGITS)  # TOKENS_TYPE in `decode.cu` is the place in this order
MOST_COLUMNS = 24
MOST_WORDS, MOST_BOOKS = 16, 16  # of a codebook, and of a layer
# as in `decode.cu`:
PITCH, SLOTS, SPARSE_WARPS, STAGE_BYTES, BOOK_BYTES = 144, 144, 4, 6 * 512 + 256 + 6 * 32, 256
# Turns and stages, by the blocks of columns, without and with a sparse part. They were the fastest or nearly so on an
# H200 with an earlier form of the kernel; `bench/gpu/decode_ways.py` tries others.
WAYS = {False: {1: (8, 1), 2: (4, 2), 3: (4, 2)}, True: {1: (4, 2), 2: (4, 2), 3: (4, 2)}}
SPLIT_COST = 0.03  # of one more split, as a share of the time of a block that takes whole rows of tiles


@dataclass(frozen=True)
class LaunchPlan:
    """The launch of one layer and number of tokens."""

    turns: int  # KW in `decode.cu`: warps that share the tiles of a part
    stages: int  # tiles that a warp copies ahead
    blocks: int  # of eight columns
    group: int  # tokens that a block of threads takes
    groups: int
    splits: int  # of a row of tiles
    chunk: int  # tiles whose digits are in shared memory
    threads: int
    shared_bytes: int


@lru_cache(maxsize=4096)
def launch_plan(
    down: int,
    across: int,
    tokens: int,
    kind: str,
    sparse: bool,
    multiprocessors: int,
    shared_bytes: int,
) -> LaunchPlan:
    """Return the launch for a layer of full tiles.

    Args:
        down: rows of tiles.
        across: tiles in a row.
        tokens: 1 to MOST_TOKENS.
        kind: type of the inputs, of DIGITS.
        sparse: whether the layer has a sparse part.
        multiprocessors: of the device.
        shared_bytes: most shared memory of a block on the device.
    """
    most = min(MOST_TOKENS, MOST_COLUMNS // DIGITS[kind])
    groups = -(-tokens // most)
    group = -(-tokens // groups)
    columns = group * DIGITS[kind]
    blocks = -(-columns // 8)
    turns, stages = WAYS[sparse][blocks]
    splits = split_count(down, across, multiprocessors)
    warps = 3 * turns + (SPARSE_WARPS if sparse else 0)
    fixed = 3 * turns * stages * STAGE_BYTES + BOOK_BYTES + (TILE * 8 * 4 if sparse else 0)
    per_tile = columns * PITCH + blocks * 32 + 4
    longest = -(-across // splits)
    chunk = min(longest, (shared_bytes - fixed) // per_tile)
    sums = 0 if kind == "int8" else turns * columns * SLOTS * 4
    return LaunchPlan(
        turns, stages, blocks, group, groups, splits, chunk, 32 * warps, max(chunk * per_tile + fixed, sums)
    )


def split_count(down: int, across: int, multiprocessors: int) -> int:
    """Return into how many parts a row of tiles is cut, so that blocks of threads fill the multiprocessors evenly.

    One block runs on a multiprocessor at a time, so s splits take ceil(down s / multiprocessors) / s of the time that
    whole rows of tiles would take, and each costs a little more.
    """
    most = max(1, min(2 * multiprocessors // down, across // 4))
    return min(range(1, most + 1), key=lambda s: -(-down * s // multiprocessors) / s + SPLIT_COST * s)
