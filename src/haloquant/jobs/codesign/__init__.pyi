from .front import Design as Design
from .job import search_designs as search_designs
from .search_result import CodesignSettings as CodesignSettings

__all__ = ["CodesignSettings", "Design", "search_designs"]
