"""Names of devices: what is there is found, and what is not there is refused before any work."""

import pytest

torch = pytest.importorskip("torch")

from haloquant.errors import InputError  # noqa: E402
from haloquant.lm.devices import (  # noqa: E402
    card_of,
    check_alike,
    check_device_name,
    describe_device,
    find_device,
    find_devices,
    named_devices,
)


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let torch find this number of GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:x", "", "CPU", None, 0])
def test_names_of_another_form_are_refused(device: object) -> None:
    with pytest.raises(InputError, match="device must be auto, cpu, cuda or cuda:NUMBER, not"):
        check_device_name(device)


@pytest.mark.parametrize(
    ("count", "asked", "found"),
    [(0, "auto", "cpu"), (0, "cpu", "cpu"), (2, "auto", "cuda:0"), (2, "cuda", "cuda:0"), (2, "cuda:1", "cuda:1")],
)
def test_what_is_there_is_found(monkeypatch: pytest.MonkeyPatch, count: int, asked: str, found: str) -> None:
    gpus(monkeypatch, count)
    assert find_device(asked) == found


@pytest.mark.parametrize(
    ("count", "asked", "there"),
    [(0, "cuda", "no GPU that torch can use"), (1, "cuda:1", "cuda:0"), (3, "cuda:3", "cuda:0 to cuda:2")],
)
def test_a_gpu_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, count: int, asked: str, there: str
) -> None:
    gpus(monkeypatch, count)
    with pytest.raises(InputError, match=f"this machine has {there}, so the device must not be {asked}; use auto"):
        find_device(asked)


def test_people_read_the_name_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the GPU called {device}")
    assert describe_device("cpu") == "cpu"
    assert describe_device("cuda:1") == "cuda:1, the GPU called cuda:1"


def test_several_gpus_have_their_names_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 3)
    assert find_devices("cuda:all") == ("cuda:0", "cuda:1", "cuda:2")
    assert find_devices("cuda:2,cuda:0") == ("cuda:2", "cuda:0")
    assert find_devices("cuda") == find_devices("auto") == ("cuda:0",) and find_devices("cpu") == ("cpu",)
    for asked in ("cuda:0,cpu", "cuda,cuda:1", "all", "cuda:0,"):
        with pytest.raises(InputError, match=r"device must be auto, cpu, cuda or cuda:NUMBER, cuda:all, or GPUs with"):
            find_devices(asked)
    with pytest.raises(InputError, match="device must name each GPU once, not cuda:1,cuda:1"):
        find_devices("cuda:1,cuda:1")
    with pytest.raises(InputError, match="this machine has cuda:0 to cuda:2, so the device must not be cuda:7"):
        find_devices("cuda:0,cuda:7")
    gpus(monkeypatch, 0)
    with pytest.raises(InputError, match="this machine has no GPU that torch can use"):
        find_devices("cuda:all")


def test_gpus_that_share_a_work_must_be_cards_of_one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = {"cuda:0": "A100", "cuda:1": "H100", "cuda:2": "H100"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: cards[device])
    check_alike(("cuda:1", "cuda:2"))
    check_alike(("cuda:0",))
    assert card_of("cuda:0") == "A100" and card_of("cpu") == card_of("cuda") == ""
    words = r"GPUs of one kind, .* not cuda:0 \(A100\), cuda:1 and cuda:2 \(H100\); use cuda:1,cuda:2$"
    with pytest.raises(InputError, match=words):
        check_alike(("cuda:0", "cuda:1", "cuda:2"))


def test_devices_are_named_without_being_there() -> None:
    assert named_devices("cuda:1,cuda:05") == ("cuda:1", "cuda:5")
    assert [named_devices(name) for name in ("cuda:all", "cuda:3", "auto")] == [("cuda:all",), ("cuda:3",), ("auto",)]
    with pytest.raises(InputError, match="device must name each GPU once"):
        named_devices("cuda:1,cuda:01")
