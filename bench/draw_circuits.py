"""Draw the pictures of the circuit pages: python bench/draw_circuits.py [FOLDER]

It draws the charts of `haloquant profiles --plot`, one file each, for the default profile and for some other MACs,
and figure 4 of the HALO paper beside the unit that is nearest to it.
"""

import sys
from pathlib import Path

import vl_convert

from haloquant.report.charts.circuits import by_weight, frontier, histogram
from haloquant.report.charts.paper import picture_chart
from haloquant.store.profiles import find_profile, read_profile, shipped_profiles

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"


def main() -> None:
    """Write SVG files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    default = find_profile("default")
    shipped = {name: read_profile(path) for name, path in shipped_profiles().items()}
    charts = {
        "mac-by-weight": by_weight(default),
        "mac-histogram": histogram(default),
        "mac-by-weight-ripple": by_weight(find_profile("asap7-sxarray_rca-mul-fa")),
        "mac-frontier": frontier(shipped),
        "figure-4": picture_chart(),
    }
    for name, chart in charts.items():
        path = folder / f"{name}.svg"
        path.write_text(vl_convert.vegalite_to_svg(chart.to_dict()))
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
