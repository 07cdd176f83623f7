"""The verbs, in order: inputs -> hardware -> calibrate -> quantize -> evaluate -> simulate -> report.

`job.run` does them all; each verb is a module that can be read and called alone.
"""

from haloquant.pipeline.job import Job, run

__all__ = ["Job", "run"]
