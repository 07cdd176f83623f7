"""One efficiency for a model on a device predicts the rates of its formats, where memory is the limit."""

import pytest

from haloquant.accel.platforms import predict, words_per_battery
from haloquant.store.platforms import read_platform

ROWS = {(line.row.model, line.row.format): line for line in predict(read_platform("rpi5_llmpi"))}
LARGE = ("Llama-3.2-3B", "Phi-3-mini")  # of 3 billion weights or more that fit the memory in the reference format


@pytest.mark.parametrize("model", ["Llama-3.2-1B", "Gemma-2-2B", *LARGE])
@pytest.mark.parametrize("kind", ["Q6_K", "Q4_0"])
def test_an_efficiency_fitted_on_8_bits_predicts_6_and_4(model: str, kind: str) -> None:
    error = ROWS[model, kind].error
    assert error is not None and abs(error) < 0.15


@pytest.mark.parametrize("model", LARGE)
def test_it_fails_for_2_bits_of_3_billion_weights_where_unpacking_is_the_limit(model: str) -> None:
    error = ROWS[model, "Q2_K"].error
    assert error is not None and error > 0.15


def test_the_published_rate_by_hand() -> None:
    """Llama 3.2 1B: 16 blocks and a head, 1.2358e9 weights; Q8_0 has 8.5 bits, Q4_0 4.5 and its head 6.5625."""
    block = 2048 * (2048 + 512 + 512 + 2048) + 3 * 2048 * 8192
    head = 2048 * 128256
    eight = (16 * block + head) * 8.5 / 8
    four = 16 * block * 4.5 / 8 + head * 6.5625 / 8
    assert ROWS["Llama-3.2-1B", "Q8_0"].row.read_b == pytest.approx(eight, rel=1e-3)
    assert ROWS["Llama-3.2-1B", "Q4_0"].row.read_b == pytest.approx(four, rel=1e-3)
    assert ROWS["Llama-3.2-1B", "Q4_0"].predicted_tok_s == pytest.approx(7.43 * eight / four, rel=2e-3)
    assert ROWS["Llama-3.2-1B", "Q8_0"].efficiency == pytest.approx(7.43 * eight / 17.07e9, rel=1e-3)


def test_what_does_not_fit_the_memory_is_not_predicted() -> None:
    assert ROWS["Phi-3-mini", "F16"].predicted_tok_s is None
    assert ROWS["Llama-3-8B", "Q4_0"].error is None  # its reference does not fit


def test_words_per_battery_are_the_published_ones_but_for_one_constant() -> None:
    """LLMPi's words per battery of Llama 1B, over its tokens per joule, are one number within 7 %."""
    published = {"F16": 7.1e3, "Q8_0": 1.4e4, "Q6_K": 1.8e4, "Q4_0": 2.3e4, "Q2_K": 2.9e4}
    joules_words = 5.7e3
    for kind, words in published.items():
        tok_per_j = ROWS["Llama-3.2-1B", kind].row.tok_per_j
        assert tok_per_j is not None
        assert words_per_battery(tok_per_j, joules_words, 1.0) == pytest.approx(words, rel=0.07)
