from .circuits import draw_circuits as draw_circuits
from .exploration import draw_exploration as draw_exploration
from .labels import place_labels as place_labels
from .machines import bandwidth_clock_map as bandwidth_clock_map
from .machines import claims_chart as claims_chart
from .machines import deadline_chart as deadline_chart
from .machines import roofline_chart as roofline_chart
from .machines import save_png as save_png
from .paper import bars_chart as bars_chart
from .paper import mac_chart as mac_chart
from .policies import policy_chart as policy_chart

__all__ = [
    "bandwidth_clock_map",
    "bars_chart",
    "claims_chart",
    "deadline_chart",
    "draw_circuits",
    "draw_exploration",
    "mac_chart",
    "place_labels",
    "policy_chart",
    "roofline_chart",
    "save_png",
]
