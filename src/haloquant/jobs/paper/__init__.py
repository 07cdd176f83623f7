"""The HALO paper held against this package, claim by claim.

`mac_claims`, `speed_claims`, `energy_claims`, `method_claims` and `accuracy_claims` each return rows; `report` gathers
them. `clock_mix` is the paper's arithmetic; `fair_machines` runs every system on its own best hardware.
"""
