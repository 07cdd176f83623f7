"""The run-time checks of annotations find what they should: wrong types, and sizes that differ within one call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float64, TypeCheckError

from haloquant.records import Codebook, OperatingPoint
from support.shape_checks import ALWAYS, ALWAYS_INSIDE, SELDOM, _lean_jaxtyped

ONE, TWO = np.zeros(1), np.zeros(2)
WRONG = (BeartypeCallHintViolation, TypeCheckError)


def checked(fn):
    return _lean_jaxtyped(fn, typechecker=beartype)


@checked
def plain(count: int) -> str:
    return "x" * count if count else 0  # type: ignore[return-value]


@checked
def product(a: Float64[np.ndarray, "m k"], b: Float64[np.ndarray, "k n"], turn: bool) -> Float64[np.ndarray, "m n"]:
    return (a @ b).T if turn else a @ b


@checked
def several(*parts: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]) -> None: ...


@checked
def generated(a: Float64[np.ndarray, " n"]) -> Iterator[Float64[np.ndarray, " n"]]:
    yield a


@checked
@dataclass
class Pair:
    a: Float64[np.ndarray, " n"]
    b: Float64[np.ndarray, " n"]


@pytest.mark.parametrize("wrong", [lambda: plain("3"), lambda: plain(0), lambda: generated([1.0])])
def test_types(wrong) -> None:
    with pytest.raises(WRONG):
        wrong()


def test_sizes_are_compared_between_parameters_and_result() -> None:
    a, b = np.zeros((2, 3)), np.zeros((3, 4))
    assert product(a, b, False).shape == (2, 4)
    assert product(b.T, a.T, False).shape == (4, 2)  # the sizes of the call before are forgotten
    with pytest.raises(WRONG, match="violates type hint") as raised:
        product(a, a, False)
    assert "m=2" in raised.value.__notes__[0] and "k=3" in raised.value.__notes__[0]
    with pytest.raises(WRONG):
        product(a, b, True)


def test_sizes_inside_tuples_and_dataclasses() -> None:
    several((ONE, ONE))
    Pair(TWO, TWO)
    assert next(generated(TWO)) is TWO
    for wrong in (lambda: several((ONE, TWO)), lambda: Pair(ONE, TWO)):
        with pytest.raises(WRONG):
            wrong()


@pytest.mark.slow  # the quick command leaves these checks out
def test_haloquant_is_checked() -> None:
    with pytest.raises(WRONG):
        for _ in range(SELDOM):  # of this many calls one is checked
            Codebook("fast", np.zeros(3), OperatingPoint(1.0, 1e9), 0.0)  # words are integers


def test_after_the_first_calls_one_of_many_is_checked() -> None:
    @checked
    def first(a: Float64[np.ndarray, " n"], b: Float64[np.ndarray, " n"]) -> float:
        return float(a[0] + b[0])

    for _ in range(ALWAYS):
        with pytest.raises(WRONG):
            first(ONE, TWO)
    found = 0
    for _ in range(10 * SELDOM):
        try:
            first(ONE, TWO)
        except WRONG:
            found += 1
    assert found == 10


def test_of_a_function_inside_a_function_the_first_and_one_of_many_are_checked() -> None:
    def outer() -> Callable[[int], int]:
        @checked
        def inner(count: int) -> int:
            return count

        return inner

    def finds() -> bool:
        try:
            outer()("3")  # type: ignore[arg-type]
        except WRONG:
            return True
        return False

    assert all(finds() for _ in range(ALWAYS_INSIDE))
    assert sum(finds() for _ in range(10 * SELDOM)) == 10
