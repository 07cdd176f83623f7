"""Parts of the plain loops: numbers of 16 bits."""

import numpy as np

from haloquant.kernels.cpu import plain_loops


def test_every_half_is_read_as_numpy_reads_it() -> None:
    bits = np.arange(65536, dtype=np.uint16)
    finite = bits[np.isfinite(bits.view(np.float16))]
    found = np.array([plain_loops.half(b) for b in finite], np.float32)
    assert np.array_equal(found.view(np.uint32), finite.view(np.float16).astype(np.float32).view(np.uint32))
