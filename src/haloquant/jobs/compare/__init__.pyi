from .job import Job as Job
from .job import run as run
from .job import write_report as write_report

__all__ = ["Job", "run", "write_report"]
