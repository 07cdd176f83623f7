from .events import Event as Event
from .events import Timeline as Timeline
from .events import timeline as timeline
from .segments import GroupTimes as GroupTimes
from .segments import SegmentTable as SegmentTable

__all__ = [
    "Event",
    "GroupTimes",
    "SegmentTable",
    "Timeline",
    "timeline",
]
