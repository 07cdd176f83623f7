"""Products of float32 matrices on a GPU with all bits of float32, whatever the caller's program has chosen."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_products() -> Iterator[None]:
    """Keep TF32 off within the `with` block: it has 10 bits of fraction, and sums and codes would differ by it."""
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, False
    try:
        yield
    finally:
        products.allow_tf32 = before
