from .markdown import render_paper_markdown as render_paper_markdown
from .page import render_paper_page as render_paper_page
from .rows import ClaimRow as ClaimRow
from .rows import PaperReport as PaperReport
from .rows import Verdict as Verdict
from .rows import encode_report as encode_report

__all__ = [
    "ClaimRow",
    "PaperReport",
    "Verdict",
    "encode_report",
    "render_paper_markdown",
    "render_paper_page",
]
