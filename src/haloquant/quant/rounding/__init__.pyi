from .compensation import compensate as compensate
from .compensation import factorize as factorize
from .refinement import quantize_weight_refined as quantize_weight_refined
from .refinement import refine as refine
from .scale_search import search as search

__all__ = ["compensate", "factorize", "quantize_weight_refined", "refine", "search"]
