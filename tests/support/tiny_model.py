"""A tiny decoder with random weights, saved by transformers, and its layers in HALO form."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from haloquant.lm.checkpoint.linear_layers import LinearLayer
from haloquant.lm.checkpoint.reader import Checkpoint, read_weight
from haloquant.quant.layer import quantize_weight
from haloquant.quant.sparse import no_sparse_weights, split
from haloquant.quant.tiles import make_grid
from haloquant.records import QuantizedWeight, TileMap

ONE_BLOCK = {
    "vocab_size": 257, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip


def iterate_weights(checkpoint: Checkpoint) -> Iterator[tuple[LinearLayer, np.ndarray]]:
    for layer in checkpoint.layers:
        yield layer, read_weight(checkpoint, layer)


def save_llama(folder: Path, tied: bool = True, dtype: str = "float32", **changes) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": 96,
        "hidden_size": 64,
        "intermediate_size": 172,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": tied,
        "attention_bias": True,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**(settings | changes)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def save_one_block(folder: Path, **changes) -> Path:
    """A random Llama of one narrow block with a tokenizer of bytes: the smallest model that a whole job takes."""
    save_llama(folder, **(ONE_BLOCK | changes))
    save_byte_tokenizer(folder)
    return folder


def save_tiny(folder: Path) -> Path:
    """A random Llama of two blocks with a tokenizer of bytes: small enough to quantize many times over."""
    save_llama(folder, vocab_size=257, max_position_embeddings=64)
    save_byte_tokenizer(folder)
    return folder


def save_byte_tokenizer(folder: Path) -> None:
    """A tokenizer of 257 tokens beside a model: the end of a text, and every byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {symbol: i for i, symbol in enumerate(["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def save_gpt2(folder: Path) -> Path:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=96, n_embd=64, n_layer=2, n_head=4, n_positions=64)).save_pretrained(folder)
    return folder


def quantized(checkpoint: Checkpoint, books, tile: int = 32, sparse: float = 0.005) -> list[QuantizedWeight]:
    layers = []
    for index, (layer, weight) in enumerate(iterate_weights(checkpoint)):
        grid = make_grid(layer.out_features, layer.in_features, tile, tile)
        classes = np.random.default_rng(index).integers(0, len(books), (grid.down, grid.across)).astype(np.uint8)
        parts = split(weight, budget=sparse)[0] if sparse else no_sparse_weights(layer.out_features)
        tiles = TileMap(layer.name, grid, classes)
        layers.append(quantize_weight(weight, tiles=tiles, codebooks=books, sparse=parts))
    return layers
