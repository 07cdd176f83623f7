from .catalogue import MacSource as MacSource
from .catalogue import generated_mac as generated_mac
from .catalogue import mac_from_rtl as mac_from_rtl
from .catalogue import mac_from_spec as mac_from_spec
from .catalogue import mac_names as mac_names
from .profile_building import characterize_mac as characterize_mac
from .profile_building import synthesize_mac as synthesize_mac

__all__ = [
    "MacSource",
    "characterize_mac",
    "generated_mac",
    "mac_from_rtl",
    "mac_from_spec",
    "mac_names",
    "synthesize_mac",
]
