from .front import Design as Design
from .job import CodesignSettings as CodesignSettings
from .job import search_designs as search_designs

__all__ = ["CodesignSettings", "Design", "search_designs"]
