"""Copies through staging buffers, with buffers in ordinary memory and, where there is a GPU, to it and back."""

import numpy as np
import pytest
import torch

from haloquant.kernels.device_copies import PIECE_B, SMALL_B, Staging, moved, to_device, to_host

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [1, 63, 64, 65, 128, 1000])
def test_every_byte_passes_the_buffers(size: int) -> None:
    given = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
    staging = Staging(CPU, piece_b=64)
    there, back = torch.zeros(size, dtype=torch.uint8), np.zeros(size, np.uint8)
    for _ in range(2):  # the buffers serve again
        staging.to_device(given, there)
        staging.to_host(there, back)
        np.testing.assert_array_equal(there.numpy(), given)
        np.testing.assert_array_equal(back, given)


def test_on_the_cpu_nothing_is_copied_but_into_a_given_array() -> None:
    given = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensor = to_device(given, CPU)
    assert tensor.data_ptr() == given.ctypes.data and to_host(tensor).ctypes.data == given.ctypes.data
    assert moved(tensor, CPU) is tensor
    into = np.zeros_like(given)
    assert to_host(tensor.requires_grad_(), into) is into and np.array_equal(into, given)
    for other in (np.zeros((4, 3), np.float32), np.zeros((3, 4)), np.zeros((4, 3), np.float32).T):
        with pytest.raises(ValueError, match="must be contiguous float32"):
            to_host(tensor, other)
    turned = to_device(given.T, CPU)
    assert turned.is_contiguous() and np.array_equal(turned.numpy(), given.T)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.bool_, np.int64])
@pytest.mark.parametrize("size", [10, SMALL_B, 3 * PIECE_B + 8])
def test_arrays_go_to_a_gpu_and_back(dtype: type, size: int) -> None:
    given = np.random.default_rng(1).integers(0, 256, size).astype(np.uint8)
    given = given > 127 if dtype is np.bool_ else given[: size // 8 * 8].view(dtype)
    device = torch.device("cuda", 0)
    made = [to_device(part, device) for part in (given, given[::-1])]  # the second waits for the buffers of the first
    doubled = made[0].clone()
    for tensor, wanted in zip((*made, doubled), (given, given[::-1], given), strict=True):
        assert tensor.device == device and tensor.cpu().numpy().tobytes() == wanted.tobytes()
        assert to_host(tensor).tobytes() == wanted.tobytes()
        assert moved(moved(tensor, CPU), device).cpu().numpy().tobytes() == wanted.tobytes()
    into = np.empty_like(given)
    assert to_host(made[0], into) is into and into.tobytes() == given.tobytes()
    square = torch.arange(1 << 20, device=device).view(1 << 10, 1 << 10).float()
    assert np.array_equal(to_host(square.T), np.arange(1 << 20, dtype=np.float32).reshape(1 << 10, -1).T)
