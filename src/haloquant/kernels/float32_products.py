"""Products on a GPU whose sums have all bits of float32, whatever the caller's program has chosen."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_products() -> Iterator[None]:
    """Keep TF32 off within the `with` block: it has 10 bits of fraction, and sums and codes would differ by it.

    Products of bfloat16 do not add parts of a sum in bfloat16 either.
    """
    products = torch.backends.cuda.matmul
    before = products.allow_tf32, products.allow_bf16_reduced_precision_reduction
    products.allow_tf32 = products.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        products.allow_tf32, products.allow_bf16_reduced_precision_reduction = before
