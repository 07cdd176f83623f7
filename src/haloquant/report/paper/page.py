"""Write the report on the paper as one HTML page that needs no network."""

from pathlib import Path

import jinja2
import vl_convert

from haloquant.report.charts.paper import bars_chart, mac_chart, picture_chart
from haloquant.report.paper.markdown import HEAD, cells
from haloquant.report.paper.rows import PaperReport, counts


def render_paper_page(report: PaperReport) -> str:
    """Return the page as HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    charts = bars_chart(report.rows), mac_chart(), picture_chart()
    drawn = [vl_convert.vegalite_to_svg(chart.to_dict()) for chart in charts]
    return environment.get_template("paper.html.j2").render(
        head=HEAD, rows=cells(report), counts=counts(report.rows), notes=report.notes, drawn=drawn
    )
