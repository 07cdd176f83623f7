"""Quantize a model folder, check the packed model, and compare it with the original.

Usage: python examples/quantize_model.py [MODEL] [OUT] [TEXT]
"""

import sys

import haloquant

model = sys.argv[1] if len(sys.argv) > 1 else "demo"
out = sys.argv[2] if len(sys.argv) > 2 else "out/demo-halo"
text = sys.argv[3] if len(sys.argv) > 3 else "demo"
made = haloquant.quantize(model, out, goal="bal", calibration=text)
print(f"{haloquant.verify(made.folder).layers} layers at {made.bits_per_weight:.2f} bits per weight in {made.folder}")
for score in haloquant.compare([model, out], text):
    print(f"{score.model:14} {score.bits_per_weight:6.2f} bits  perplexity {score.perplexity:8.3f}")
