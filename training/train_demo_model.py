"""Train the demo model: a Llama-architecture language model of about 10 M parameters on public-domain books.

The result is the embedded default of `haloquant run`. Every matrix is a multiple of 128 in both
directions, so that a 128x128 tile grid fits without padding, and the stored fp16 file stays near 20 MB.

Usage:
    python training/train_demo_model.py --data TEXTS --out out/demo --minutes 100

The learning rate is warmup-stable-decay: constant until `--decay-fraction` of the budget is left, then
linear to zero. The budget is either `--steps` (reproducible to the bit on one machine and thread count)
or `--minutes` (the step at which the decay began is written to `training.json`, so the run can be
repeated with `--steps`). Matrices are trained with Muon (orthogonalised momentum), embeddings and norms
with AdamW.
"""

import argparse
import json
import lzma
import math
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCAB = 4096
CONTEXT = 256
CONFIG = dict(
    vocab_size=VOCAB,
    hidden_size=384,
    intermediate_size=1152,
    num_hidden_layers=5,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=CONTEXT,
    tie_word_embeddings=True,
    rms_norm_eps=1e-5,
    bos_token_id=0,
    eos_token_id=0,
)


def read_text(path: Path) -> str:
    return lzma.open(path, "rt", encoding="utf-8").read()


def train_tokenizer(text: str, out: Path) -> Tokenizer:
    """Byte-level BPE, so that every string has a token sequence and none is `<unk>`."""
    file = out / "tokenizer.json"
    if file.exists():
        return Tokenizer.from_file(str(file))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Every fifth paragraph: 20 MB are plenty for 4096 merges.
    tokenizer.train_from_iterator(text.split("\n")[::5], trainer)
    tokenizer.save(str(file))
    return tokenizer


def encode(tokenizer: Tokenizer, text: str, cache: Path) -> np.ndarray:
    if cache.exists():
        return np.load(cache)
    lines = text.splitlines(keepends=True)
    ids: list[np.ndarray] = []
    for start in range(0, len(lines), 4096):
        block = tokenizer.encode_batch_fast(lines[start : start + 4096])
        ids.append(np.concatenate([np.asarray(e.ids, np.uint16) for e in block]))
    tokens = np.concatenate(ids)
    np.save(cache, tokens)
    return tokens


@torch.no_grad()
def mean_loss(model: LlamaForCausalLM, tokens: np.ndarray, windows: int) -> float:
    """Mean negative log-likelihood in nats per predicted token over the first `windows` windows."""
    model.eval()
    total, count = 0.0, 0
    stop = min(windows * CONTEXT, len(tokens) // CONTEXT * CONTEXT)
    data = torch.from_numpy(tokens[:stop].astype(np.int64)).view(-1, CONTEXT)
    for batch in data.split(16):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        total += float(loss) * batch.numel()
        count += batch.numel()
    model.train()
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with books_train/valid/test.txt.xz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=100.0)
    parser.add_argument("--steps", type=int, help="a fixed number of steps instead of a time budget")
    parser.add_argument("--decay-fraction", type=float, default=0.35)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr-matrix", type=float, default=0.02)
    parser.add_argument("--lr-embed", type=float, default=0.003)
    parser.add_argument("--start-from", type=Path, help="model of an earlier run, trained on with unseen windows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    text = read_text(args.data / "books_train.txt.xz")
    tokenizer = train_tokenizer(text, args.out)
    train = encode(tokenizer, text, args.out / "train.npy")
    valid = encode(tokenizer, read_text(args.data / "books_valid.txt.xz"), args.out / "valid.npy")
    del text
    print(f"train {len(train):,} tokens, valid {len(valid):,} tokens", flush=True)

    model = LlamaForCausalLM(LlamaConfig(**CONFIG, attn_implementation="sdpa")).to(args.device)
    before = 0
    if args.start_from:
        start = LlamaForCausalLM.from_pretrained(args.start_from, dtype=torch.float32)
        model.load_state_dict(start.state_dict())
        before = json.loads((args.start_from / "training.json").read_text())["tokens"]
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [
        torch.optim.Muon(matrices, lr=args.lr_matrix, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=args.lr_embed, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    base = [args.lr_matrix, args.lr_embed]
    order = np.random.default_rng(0).permutation(len(train) // CONTEXT)
    windows = train[: len(train) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)

    begin, step, log = time.monotonic(), 0, []
    while True:
        elapsed = (time.monotonic() - begin) / 60
        progress = step / args.steps if args.steps else elapsed / args.minutes
        if progress >= 1.0:
            break
        warmup = min(1.0, (step + 1) / 50)
        factor = warmup * min(1.0, (1.0 - progress) / args.decay_fraction)
        for optimizer, lr in zip(optimizers, base, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor
        first = before // CONTEXT + step * args.batch
        rows = order[np.arange(first, first + args.batch) % len(order)]
        batch = torch.from_numpy(windows[rows].astype(np.int64)).to(args.device)
        with torch.autocast(args.device, torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        log.append(loss.item())
        if step % 20 == 0:
            rate = step * args.batch * CONTEXT / (time.monotonic() - begin)
            print(
                f"step {step} {elapsed:.1f} min loss {np.mean(log[-20:]):.3f} lr x{factor:.2f} {rate:.0f} tok/s",
                flush=True,
            )
        if step % 400 == 0:
            print(f"valid loss {mean_loss(model, valid, 128):.3f}", flush=True)
            model.save_pretrained(args.out / "checkpoint")

    final = mean_loss(model, valid, 10**9)
    model.to(torch.float16).save_pretrained(args.out / "model")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", model_max_length=CONTEXT
    ).save_pretrained(args.out / "model")
    record = {
        "steps": step,
        "tokens": before + step * args.batch * CONTEXT,
        "tokens_before": before,
        "minutes": (time.monotonic() - begin) / 60,
        "valid_loss_nats": final,
        "valid_perplexity": math.exp(final),
        "arguments": {k: str(v) for k, v in vars(args).items()},
        "torch": torch.__version__,
    }
    (args.out / "model" / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
