"""Write the demo's calibration text: samples of the demo model itself, so the package ships no text of other authors.

Usage: python training/sample_text.py MODEL OUT.txt
"""

import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

PIECES, LENGTH, SEED = 64, 250, 0


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = LlamaForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    start = torch.full((PIECES, 1), tokenizer.bos_token_id)
    made = model.generate(
        start, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=LENGTH, pad_token_id=0,
        suppress_tokens=[tokenizer.eos_token_id],
    )  # fmt: skip
    pieces = tokenizer.batch_decode(made[:, 1:], skip_special_tokens=True)
    # Samples cut through characters end in a replacement mark, which no text should have.
    out.write_text("\n".join(piece.replace("�", "").strip() for piece in pieces) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
