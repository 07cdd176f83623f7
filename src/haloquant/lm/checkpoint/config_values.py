"""Check the numbers of a config.json before any work, and say which of its values transformers failed at."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from haloquant.errors import CheckpointError, first_line

# Keys of sizes, and the largest of each: several times those of the largest models.
_SIZES = {
    "blocks": re.compile(r"num_hidden_layers|n_layers?|num_layers|.*coder_layers"),
    "experts": re.compile(r"(n|num)_(local_|routed_)?experts"),
    "size": re.compile(
        r"vocab_size|d_model|d_ff|n_embd|n_inner|ffn_dim|.*(hidden|intermediate)_size|.*heads?|.*head_dim"
    ),
}
_MOST = {"blocks": 1 << 12, "experts": 1 << 14, "size": 1 << 24}
_MOST_EXPERTS = 1 << 17  # of all blocks
_EPSILON = re.compile(r"(.*_)?(eps|epsilon)")
_BASE = re.compile(r".*rope_theta|rotary(_emb)?_base|rope_.*base(_freq)?")  # of rotary positions
_UNBOUNDED = re.compile(r".*(limit|max|min|clamp).*")  # keys where infinity means that there is no limit
_NO_ATTRIBUTE = re.compile(r"has no attribute '(\w+)'")


def check_values(config: Mapping[str, object], file: Path) -> None:
    """Refuse values that no model has: sizes that are absurdly large, numbers that are not finite, a family of no name.

    Args:
        config: The configuration.
        file: Its file, for the sentences.

    Raises:
        CheckpointError: There is one.
    """
    kind = config.get("model_type")
    if kind is not None and not isinstance(kind, str):
        raise CheckpointError(f"model_type of {file} must be the name of a family, not {kind!r:.40}")
    _check_sizes(config, file)
    for path, value in _entries(config):
        key = path.rpartition(".")[2]
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if math.isnan(value) or (math.isinf(value) and not _UNBOUNDED.fullmatch(key)):
            raise CheckpointError(f"{path} of {file} must be a finite number, not {value}; the file is damaged")
        if _EPSILON.fullmatch(key) and value < 0:
            raise CheckpointError(f"{path} of {file} must be at least 0, not {value:g}")
        if (_BASE.fullmatch(key) or key == "factor") and value <= 0:
            raise CheckpointError(f"{path} of {file} must be above 0, not {value:g}")


def _check_sizes(config: Mapping[str, object], file: Path) -> None:
    """Refuse sizes that would take hours or all memory to build, though no weight is there."""
    counts = {"blocks": 1, "experts": 1}
    for path, value in _entries(config):
        kind = next((kind for kind, names in _SIZES.items() if names.fullmatch(path.rpartition(".")[2])), None)
        if kind is None or not isinstance(value, int):
            continue
        if value > _MOST[kind]:
            raise CheckpointError(f"{path} of {file} must be at most {_MOST[kind]:,}, not {value}")
        if kind in counts:
            counts[kind] = max(counts[kind], value)
    if counts["blocks"] * counts["experts"] > _MOST_EXPERTS:
        raise CheckpointError(
            f"{file} must have at most {_MOST_EXPERTS:,} experts in all blocks, not {counts['experts']:,} in each of "
            f"{counts['blocks']:,}"
        )


def failed_at(error: Exception, config: Mapping[str, object]) -> str:
    """Return the reason of an error of transformers at a configuration, with the value that it failed at where known.

    A bare key or attribute that is a text of the configuration is that value. An error of division names the sizes
    that are 0, and one of types what is no number where one must be.
    """
    if isinstance(error, ZeroDivisionError):
        zeros = [path for path, value in _entries(config) if _builds(path) and value == 0 and value is not False]
        return f"it divides by 0, the value of {' or '.join(zeros)}" if zeros else first_line(error)
    if isinstance(error, TypeError):
        others = [f"{path} is no number, but {value!r:.60}" for path, value in _entries(config) if _is_odd(path, value)]
        return f"{', '.join(others)}; {first_line(error)}" if others else first_line(error)
    token = error.args[0] if isinstance(error, KeyError) and error.args else None
    if isinstance(error, AttributeError) and (match := _NO_ATTRIBUTE.search(str(error))):
        token = match[1]
    entries = [(path, value) for path, value in _entries(config) if _builds(path)]
    places = [path for path, value in entries if value == token and type(value) is type(token)]
    if token is not None and places:
        return f"it knows no {' or '.join(places)} {token!r:.60}"
    return first_line(error)


def _builds(path: str) -> bool:
    """Return whether a key may be what a model is built from: no number of a token, and nothing of training."""
    return not re.search(r"token_id|dropout|pdrop|label2id", path)


def _is_odd(path: str, value: object) -> bool:
    """Return whether something else stands where a base, a factor or an epsilon must be a number."""
    key = path.rpartition(".")[2]
    numeric = _BASE.fullmatch(key) or _EPSILON.fullmatch(key) or key == "factor"
    return bool(numeric) and (isinstance(value, bool) or not isinstance(value, int | float))


def _entries(config: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    """Yield every value that is no section, with its path of keys."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _entries(value, f"{before}{key}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield f"{before}{key}", value
