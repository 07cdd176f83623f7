from .session import open_session as open_session
from .session import run_tasks as run_tasks
from .tasks import Engine as Engine
from .tasks import Session as Session
from .tasks import Work as Work
from .tasks import parse_engine as parse_engine

__all__ = ["Engine", "Session", "Work", "open_session", "parse_engine", "run_tasks"]
