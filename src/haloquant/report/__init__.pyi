from .markdown import render_markdown as render_markdown
from .page import draw_figures as draw_figures
from .page import figure_png as figure_png
from .page import render_page as render_page
from .results import Results as Results
from .results import decode_results as decode_results
from .results import encode_results as encode_results
from .tables import method_table as method_table
from .warnings import find_warnings as find_warnings

__all__ = [
    "Results",
    "decode_results",
    "draw_figures",
    "encode_results",
    "figure_png",
    "find_warnings",
    "method_table",
    "render_markdown",
    "render_page",
]
