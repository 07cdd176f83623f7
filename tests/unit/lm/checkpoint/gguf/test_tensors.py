"""Tensors of every type against the functions of the gguf package, in whole and in parts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.checkpoint.gguf.header import GgufEntry  # noqa: E402
from haloquant.lm.checkpoint.gguf.layout import Layout  # noqa: E402
from haloquant.lm.checkpoint.gguf.tensors import gguf_slices, gguf_tensor  # noqa: E402
from haloquant.lm.checkpoint.safetensors import check_finite, read_float32  # noqa: E402
from haloquant.lm.export.model_folder import RawTensor  # noqa: E402
from support.gguf_files import SCALES, encode  # noqa: E402

KINDS = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", *SCALES)
SHAPE = (6, 512)


def stored(tmp_path: Path, kind: str, layout: Layout | None = None, weight: np.ndarray | None = None):
    """A tensor that begins at byte 64 of a file, and its values in the order of the file."""
    weight = np.random.default_rng(0).normal(0, 0.02, SHAPE).astype(np.float32) if weight is None else weight
    data = encode(weight, kind)
    file = tmp_path / f"{kind}.gguf"
    file.write_bytes(bytes(64) + data.tobytes())
    number = gguf.GGMLQuantizationType[kind]
    entry = GgufEntry("blk.0.x.weight", weight.shape, int(number), 64, file, file.stat().st_size)
    tensor = gguf_tensor(entry, "x", layout or Layout())
    return tensor, gguf.quants.dequantize(data, number).reshape(weight.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_gguf_package_from_any_element_on(kind: str, tmp_path: Path) -> None:
    tensor, expected = stored(tmp_path, kind)
    assert tensor.dtype == kind and np.abs(expected).max() > 0
    assert np.array_equal(read_float32(tensor).reshape(SHAPE), expected)
    for start, count in ((0, 1), (5, 40), (31, 33), (700, 1000), (3071, 1), (17, 0)):
        assert np.array_equal(read_float32(tensor, start, count), expected.reshape(-1)[start : start + count])


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_K"])
@pytest.mark.parametrize("layout", [Layout("rotary", 3), Layout("transposed"), Layout("one added")])
def test_layouts_are_undone_and_copies_have_the_same_values(kind: str, layout: Layout, tmp_path: Path) -> None:
    tensor, values = stored(tmp_path, kind, layout)
    expected = {
        "rotary": values.reshape(3, 1, 2, 512).swapaxes(1, 2).reshape(SHAPE),
        "transposed": values.T,
        "one added": values - np.float32(1),
    }[layout.change]
    assert tensor.shape == expected.shape
    assert np.array_equal(read_float32(tensor).reshape(tensor.shape), expected)
    assert np.array_equal(read_float32(tensor, 37, 600), expected.reshape(-1)[37:637])
    copy = RawTensor.read(tensor)
    raw = copy.data.astype(np.uint32) << 16 if copy.dtype == "BF16" else copy.data.astype(np.float32)
    assert np.array_equal(raw.view(np.float32).reshape(copy.shape), expected)
    assert copy.dtype == (kind if kind in ("F16", "BF16") and layout.change != "one added" else "F32")


def test_rotary_rows_are_paired_as_llama_cpp_pairs_them(tmp_path: Path) -> None:
    rows = np.repeat(np.array([0, 4, 1, 5, 2, 6, 3, 7], np.float32), 32).reshape(8, 32)  # one head of 8 rows
    tensor, _ = stored(tmp_path, "F32", Layout("rotary", 1), rows)
    assert read_float32(tensor).reshape(8, 32)[:, 0].tolist() == list(range(8))


def test_a_value_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    weight = np.zeros(SHAPE, np.float32)
    weight[3, 7] = np.nan
    tensor, _ = stored(tmp_path, "F16", None, weight)
    with pytest.raises(CheckpointError, match=r"must be finite, but holds nan at \(3, 7\)"):
        check_finite(tensor)


def test_a_file_that_is_cut_short_and_a_type_that_is_not_known_are_refused(tmp_path: Path) -> None:
    stored(tmp_path, "Q8_0")
    file = tmp_path / "Q8_0.gguf"
    entry = GgufEntry("blk.0.x.weight", SHAPE, 8, 64, file, file.stat().st_size)
    with pytest.raises(CheckpointError, match=r"cut short: tensor blk.0.x.weight must end at byte 3328"):
        gguf_tensor(replace(entry, file_bytes=entry.file_bytes - 1), "x", Layout())
    for number, name in ((999, "which it does not know"), (24, "I8")):
        with pytest.raises(CheckpointError, match=rf"can de-quantize, such .* not type {number} \({name}\)"):
            gguf_tensor(replace(entry, ggml_type=number), "x", Layout())
    with pytest.raises(CheckpointError, match="must be whole blocks of 32"):
        gguf_tensor(replace(entry, shape=(6, 48)), "x", Layout())


def test_slices_of_a_stack_are_its_matrices(tmp_path: Path) -> None:
    weight = np.random.default_rng(1).normal(0, 0.02, (3, 4, 64)).astype(np.float32)
    data = encode(weight, "Q8_0")
    file = tmp_path / "stack.gguf"
    file.write_bytes(bytes(64) + data.tobytes())
    entry = GgufEntry("blk.0.ffn_up_exps.weight", weight.shape, 8, 64, file, file.stat().st_size)
    whole = gguf.quants.dequantize(data, gguf.GGMLQuantizationType.Q8_0).reshape(weight.shape)
    for number, tensor in enumerate(gguf_slices(entry, ["a", "b", "c"])):
        assert tensor.name == "abc"[number] and tensor.shape == (4, 64)
        assert np.array_equal(read_float32(tensor).reshape(4, 64), whole[number])


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_queries_keys_and_values_return_to_their_heads(kv_heads: int) -> None:
    heads, width = 4, 2
    names = [
        f"{kind}{n}.{i}"
        for kind, count in (("q", 4), ("k", kv_heads), ("v", kv_heads))
        for n in range(count)
        for i in (0, 1)
    ]
    numbers = np.arange(len(names), dtype=np.float32)
    expected: list[str] = []
    for group in range(kv_heads):
        each = heads // kv_heads
        members = [f"q{n}" for n in range(group * each, (group + 1) * each)] + [f"k{group}", f"v{group}"]
        expected += [f"{member}.{i}" for member in members for i in range(width)]
    layout = Layout("queries first", heads, kv_heads)
    assert [names[int(n)] for n in layout.undo(numbers)] == expected
    assert np.array_equal(layout.undo(np.stack([numbers, -numbers], 1))[:, 1], -layout.undo(numbers))
