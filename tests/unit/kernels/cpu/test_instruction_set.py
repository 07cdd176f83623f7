"""Which vector instructions a CPU has, by the names of its features."""

import pytest

from haloquant.kernels.cpu.instruction_set import AVX2, AVX512, AVX_VNNI, VNNI, of_features


@pytest.mark.parametrize(
    ("machine", "features", "wanted"),
    [
        ("x86_64", (), "none"),
        ("x86_64", ("sse4.2", "ssse3"), "none"),
        ("x86_64", AVX2, "avx2"),
        ("x86_64", ("avx2", "fma"), "none"),  # no F16C
        ("x86_64", (*AVX2, *AVX512), "avx512"),
        ("x86_64", (*AVX2, *AVX512, VNNI), "avx512+vnni"),
        ("x86_64", (*AVX2, "avx512f", VNNI), "avx2"),
        ("x86_64", (*AVX2, AVX_VNNI), "avx2+vnni"),
        ("aarch64", (), "neon"),
        ("arm64", ("dotprod",), "neon+dotprod"),
        ("aarch64", AVX2, "neon"),
    ],
)
def test_the_best_set_whose_features_are_all_there(machine, features, wanted) -> None:
    assert of_features(machine, dict.fromkeys(features, True) | {"sve": False}) == wanted
