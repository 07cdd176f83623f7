from .cell_libraries import read_library as read_library
from .finished_steps import Steps as Steps
from .partial_sums import read_partial_sums as read_partial_sums
from .partial_sums import write_partial_sums as write_partial_sums
from .profiles import find_profile as find_profile
from .profiles import read_profile as read_profile
from .profiles import shipped_profiles as shipped_profiles
from .profiles import write_profile as write_profile
from .result_tables import table_csv as table_csv
from .result_tables import table_document as table_document
from .result_tables import table_json as table_json
from .simulation_files import layers_csv as layers_csv
from .simulation_files import trace_json as trace_json
from .targets import read_gpu as read_gpu
from .targets import read_systolic as read_systolic
from .targets import read_target as read_target
from .targets import shipped_targets as shipped_targets

__all__ = [
    "Steps",
    "find_profile",
    "layers_csv",
    "read_gpu",
    "read_library",
    "read_partial_sums",
    "read_profile",
    "read_systolic",
    "read_target",
    "shipped_profiles",
    "shipped_targets",
    "table_csv",
    "table_document",
    "table_json",
    "trace_json",
    "write_partial_sums",
    "write_profile",
]
