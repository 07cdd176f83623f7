"""The verbs, in order: inputs -> hardware -> calibrate -> quantize -> evaluate -> simulate -> report.

`job.run` does them all; each verb is a module that can be read and called alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haloquant.pipeline.job import Job, run

__all__ = ["Job", "run"]


def __getattr__(name: str) -> Any:
    """`Job` and `run`, imported when first asked for: they bring torch, which many a verb does without."""
    if name in __all__:
        from haloquant.pipeline import job

        return getattr(job, name)
    raise AttributeError(f"module 'haloquant.pipeline' has no attribute {name!r}")
