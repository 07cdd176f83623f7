from .alpha_power_law import VfCurve as VfCurve
from .alpha_power_law import alpha_power_delay as alpha_power_delay
from .alpha_power_law import clock_at as clock_at
from .alpha_power_law import least_voltage as least_voltage
from .alpha_power_law import vf_curve as vf_curve
from .classes import Classes as Classes
from .classes import choose_classes as choose_classes
from .operating_points import admissible_values as admissible_values
from .operating_points import delays_of as delays_of
from .operating_points import period_for as period_for
from .operating_points import rows_of as rows_of
from .operating_points import slowest_delay_s as slowest_delay_s
from .order import count_transitions as count_transitions
from .order import group_orders as group_orders
from .schedule import Policy as Policy
from .schedule import plan as plan
from .supply_modes import eco_points as eco_points
from .supply_modes import slowed_points as slowed_points
from .supply_modes import voltage_steps as voltage_steps

__all__ = [
    "Classes",
    "Policy",
    "VfCurve",
    "admissible_values",
    "alpha_power_delay",
    "choose_classes",
    "clock_at",
    "count_transitions",
    "delays_of",
    "eco_points",
    "group_orders",
    "least_voltage",
    "period_for",
    "plan",
    "rows_of",
    "slowed_points",
    "slowest_delay_s",
    "vf_curve",
    "voltage_steps",
]
