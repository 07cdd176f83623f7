from .circuits import MacPath as MacPath
from .circuits import ValueRank as ValueRank
from .circuits import characterize as characterize
from .circuits import find_mac as find_mac
from .circuits import longest_path as longest_path
from .circuits import mac_names as mac_names
from .circuits import rank_weight as rank_weight
from .libraries import merge_liberty as merge_liberty
from .profiles import MacFigures as MacFigures
from .profiles import ProfileDescription as ProfileDescription
from .profiles import describe_profile as describe_profile
from .profiles import list_profiles as list_profiles

__all__ = [
    "MacFigures",
    "MacPath",
    "ProfileDescription",
    "ValueRank",
    "characterize",
    "describe_profile",
    "find_mac",
    "list_profiles",
    "longest_path",
    "mac_names",
    "merge_liberty",
    "rank_weight",
]
