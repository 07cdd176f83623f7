"""Keys and values that grow in place are those that transformers would have, and other caches are not taken."""

import numpy as np
import pytest
import torch
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from haloquant.lm.packed.growing_cache import ROOM, GrowingCaches, cached_tokens


def states(tokens: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 2, tokens, 4, generator=torch.Generator().manual_seed(seed))


def filled(tokens: int = 5, dtype: torch.dtype = torch.float32) -> DynamicCache:
    cache = DynamicCache()
    cache.update(states(tokens).to(dtype), states(tokens, 1).to(dtype), 0)
    return cache


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_are_added_as_transformers_adds_them(dtype) -> None:
    cache, wanted, caches = filled(dtype=dtype), filled(dtype=dtype), GrowingCaches()
    keys, tokens = np.empty(0), 0
    for n in range(2 * ROOM):  # more than the first room holds
        key, value = states(1, 2 + n), states(1, 900 + n)
        wanted.update(key.to(dtype), value.to(dtype), 0)
        keys, _, tokens = caches.add(cache.layers[0], key[0, :, 0].numpy(), value[0, :, 0].numpy())
        assert tokens == cached_tokens(cache, 1, dtype) == 6 + n
        if n == 7:  # somebody cuts the cache
            cache.crop(-4)
            wanted.crop(-4)
            cache.update(states(4, 5).to(dtype), states(4, 6).to(dtype), 0)
            wanted.update(states(4, 5).to(dtype), states(4, 6).to(dtype), 0)
    assert torch.equal(cache.layers[0].keys, wanted.layers[0].keys)
    assert torch.equal(cache.layers[0].values, wanted.layers[0].values)
    stored = torch.from_numpy(keys[:, :tokens].copy())
    assert torch.equal(stored.view(dtype) if dtype is torch.bfloat16 else stored, wanted.layers[0].keys[0])
    assert keys.dtype == (np.uint16 if dtype is torch.bfloat16 else np.float32)


def test_other_caches_are_not_taken() -> None:
    assert cached_tokens(filled(), 1, torch.float32) == 5
    assert cached_tokens(filled(), 2, torch.float32) == 0
    assert cached_tokens(filled(), 1, torch.bfloat16) == 0
    assert cached_tokens(DynamicCache(), 0, torch.float32) == 0
    assert cached_tokens(None, 0, torch.float32) == 0
    two = DynamicCache()
    two.update(states(3).repeat(2, 1, 1, 1), states(3).repeat(2, 1, 1, 1), 0)
    assert cached_tokens(two, 1, torch.float32) == 0
    uneven = filled()
    uneven.update(states(4), states(4), 1)
    assert cached_tokens(uneven, 2, torch.float32) == 0
    assert not isinstance(StaticCache, DynamicCache)


def test_a_sliding_window_counts_until_it_is_full() -> None:
    cache = DynamicCache()
    cache.layers = [DynamicSlidingWindowLayer(8)]
    cache.layer_class_to_replicate = None
    caches = GrowingCaches()
    cache.layers[0].update(states(5), states(5))
    assert cached_tokens(cache, 1, torch.float32) == 5
    caches.add(cache.layers[0], states(1)[0, :, 0].numpy(), states(1)[0, :, 0].numpy())
    assert cache.layers[0].cumulative_length == cached_tokens(cache, 1, torch.float32) == 6
    caches.add(cache.layers[0], states(1)[0, :, 0].numpy(), states(1)[0, :, 0].numpy())
    assert cached_tokens(cache, 1, torch.float32) == 0
    cache.layers[0].update(states(1), states(1))
    assert cache.layers[0].keys.shape[2] == 7
    assert cache.layers[0].cumulative_length == 8
