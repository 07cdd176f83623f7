"""What tests of the API share."""

import pytest


@pytest.fixture
def one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape of one layer in place of every named model."""
    from haloquant.accel.workload.model_shapes import ModelShape
    from haloquant.jobs.machines import systems

    monkeypatch.setattr(systems, "named_shape", lambda name: ModelShape("opt-1.3b", "opt", 256, 640, 1, 4, 4, 1000))
