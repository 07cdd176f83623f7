"""Compare the HALO paper with this package, claim by claim.

`mac_claims`, `speed_claims`, `energy_claims`, `method_claims` and `accuracy_claims` each return rows, and so does
`model_rows` for a model with weights (`judged_model`, `model_table`); `report` gathers them. `clock_mix` is the paper's
arithmetic; `fair_machines` runs every system at the clock of its own values.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
