"""Engines by their names on the command line."""

import pytest

from haloquant.errors import InputError
from haloquant.jobs.engine.tasks import Engine, parse_engine


def test_engines_by_name() -> None:
    assert parse_engine("local", 2) == Engine("local", 2)
    assert parse_engine("ray=host:6379", 1) == Engine("ray", 1, "host:6379")
    with pytest.raises(InputError, match="must be local, ray or ray=ADDRESS, not 'dask'"):
        parse_engine("dask", 1)
    with pytest.raises(InputError, match=r"^workers must be at least 1, not 0$"):
        parse_engine("local", 0)
