"""What every rival asks of its inputs before it starts, said in one voice."""

import numpy as np
from jaxtyping import Float32

from haloquant.errors import InputError
from haloquant.records import LayerStatistics


def need_hessian(
    statistics: LayerStatistics, method: str, shape: tuple[int, ...], layer: str
) -> Float32[np.ndarray, "in in"]:
    """The layer's Hessian, or the reason why the method cannot run.

    Raises:
        InputError: there is none, or it belongs to a layer of another size.
    """
    if statistics.hessian is None:
        raise InputError(
            f"layer '{layer}': {method} needs the layer Hessian, not statistics from '{statistics.source}'; "
            "collect calibration with Hessians, or choose a data-free method such as rtn"
        )
    _match(statistics.hessian, (shape[1], shape[1]), "Hessian", layer)
    return statistics.hessian


def need_fisher(
    statistics: LayerStatistics, method: str, shape: tuple[int, ...], layer: str
) -> Float32[np.ndarray, "out in"]:
    """The layer's diagonal Fisher, or the reason why the method cannot run.

    Raises:
        InputError: there is none, or it belongs to a layer of another size.
    """
    if statistics.fisher is None:
        raise InputError(
            f"layer '{layer}': {method} needs the diagonal Fisher, not statistics from '{statistics.source}'; "
            "collect calibration with gradients, or choose a data-free method such as rtn"
        )
    _match(statistics.fisher, shape, "Fisher", layer)
    return statistics.fisher


def need_between(name: str, value: float | int, low: float | int, high: float | int, layer: str) -> None:
    """Refuse a setting outside [low, high].

    Raises:
        InputError: it is outside, or not a number.
    """
    if not low <= value <= high:
        raise InputError(f"layer '{layer}': {name} must be between {low:g} and {high:g}, not {value:g}")


def _match(array: np.ndarray, shape: tuple[int, ...], what: str, layer: str) -> None:
    if array.shape != shape:
        raise InputError(
            f"layer '{layer}': the {what} must be {' x '.join(map(str, shape))}, not {_shape(array)}; "
            "the statistics belong to another layer"
        )
    if not np.isfinite(array).all():
        raise InputError(f"layer '{layer}': the {what} must be finite, not NaN or infinite; calibrate in float32")


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape))
