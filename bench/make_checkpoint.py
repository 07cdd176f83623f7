"""Write a Llama-shaped checkpoint of random bf16 weights, shard by shard, with constant memory.

    python bench/make_checkpoint.py FOLDER --shape 7b          # 13 GB, LLaMA-2-7B's shapes
    python bench/make_checkpoint.py FOLDER --shape 1gb         # the same layers, 2 blocks and a small vocabulary
    python bench/make_checkpoint.py FOLDER --shape 1gb --blocks 6

Weights are normal with standard deviation 1/sqrt(in), and one in 2000 is ten times as large, because real models have
such outliers. The numbers come from a pool of 2^24 numbers that is read at random offsets, so the disk limits the
speed. There is no tokenizer, so such a model can only be quantized without data.
"""

import argparse
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SHAPES = {  # hidden, mlp, blocks, heads, kv heads, vocabulary
    "7b": (4096, 11008, 32, 32, 32, 32000),
    "1gb": (4096, 11008, 2, 32, 32, 8192),
    "small": (256, 688, 4, 4, 2, 512),
}
POOL = 1 << 24


def to_bf16(x: np.ndarray) -> np.ndarray:
    """Float32 to bf16 bits, rounded to nearest even (finite values)."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def tensors(shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a Llama checkpoint, in the order in which they are stored."""
    hidden, mlp, blocks, heads, kv_heads, vocabulary = shape
    kv = hidden // heads * kv_heads
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for i in range(blocks):
        block = f"model.layers.{i}"
        yield f"{block}.input_layernorm.weight", (hidden,)
        for name, out in (("q", hidden), ("k", kv), ("v", kv), ("o", hidden)):
            yield f"{block}.self_attn.{name}_proj.weight", (out, hidden)
        yield f"{block}.post_attention_layernorm.weight", (hidden,)
        for name, size in (("gate", (mlp, hidden)), ("up", (mlp, hidden)), ("down", (hidden, mlp))):
            yield f"{block}.mlp.{name}_proj.weight", size
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocabulary, hidden)


def write_shard(
    path: Path, members: list[tuple[str, tuple[int, ...]]], pool: np.ndarray, rng: np.random.Generator
) -> None:
    """One safetensors file, tensor after tensor."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in members:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for _, shape in members:
            write_tensor(stream, shape, pool, rng)


def write_tensor(stream, shape: tuple[int, ...], pool: np.ndarray, rng: np.random.Generator) -> None:
    """A norm is ones; a matrix comes from the pool, scaled by 1/sqrt(in)."""
    if len(shape) == 1:
        stream.write(to_bf16(np.ones(shape, np.float32)).tobytes())
        return
    scaled = to_bf16(pool * np.float32(shape[1] ** -0.5))
    left = int(np.prod(shape))
    while left:
        start = int(rng.integers(0, POOL))
        take = min(left, POOL - start)
        stream.write(scaled[start : start + take])
        left -= take


def make(folder: Path, shape: tuple[int, ...], shard_bytes: int, seed: int = 0) -> None:
    """Write the checkpoint into `folder`, which must not exist."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    pool = rng.standard_normal(POOL, np.float32)
    pool[rng.integers(0, POOL, POOL // 2000)] *= 10
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    size = 0
    for name, dims in tensors(shape):
        bytes_ = 2 * int(np.prod(dims))
        if size + bytes_ > shard_bytes and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append((name, dims))
        size += bytes_
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, members in zip(names, shards, strict=True):
        write_shard(folder / name, members, pool, rng)
    weight_map = {tensor: name for name, members in zip(names, shards, strict=True) for tensor, _ in members}
    total = sum(2 * int(np.prod(dims)) for _, dims in tensors(shape))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    hidden, mlp, blocks, heads, kv_heads, vocabulary = shape
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--blocks", type=int, help="another number of blocks than the shape's")
    parser.add_argument("--shard-gb", type=float, default=4.9)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    hidden, mlp, blocks, *rest = SHAPES[given.shape]
    make(given.folder, (hidden, mlp, given.blocks or blocks, *rest), int(given.shard_gb * 1e9), given.seed)


if __name__ == "__main__":
    main()
