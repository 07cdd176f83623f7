"""unpack(pack(q)) is q for any layer."""

from hypothesis import given, settings
from hypothesis import strategies as st

from haloquant.quant.format.packing import pack, unpack
from support.halo_layers import codebook, random_layer, same


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 70),
    cols=st.integers(1, 70),
    tile=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    sizes=st.lists(st.sampled_from([2, 5, 9, 10, 16, 17, 255, 256]), min_size=1, max_size=4),
    seed=st.integers(0, 999),
    sparse=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_inverse(rows, cols, tile, sizes, seed, sparse) -> None:
    books = tuple(codebook(tuple(range(-(n // 2), n - n // 2))) for n in sizes)
    q = random_layer(rows, cols, tile, books, seed, sparse)
    assert same(unpack(pack(q), q.layer, books, *tile), q)
