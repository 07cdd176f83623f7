"""Make the profile paper-22nm from the published figures of the HALO paper. Usage: python bench/make_paper_profile.py

Frequency and power by weight value were read from figures 4 and 5 (`src/haloquant/data/paper/mac_by_value.csv`).
"""

import numpy as np

from haloquant.records import Corner, MacProfile
from haloquant.store.paper_figures import read_mac, read_statements
from haloquant.store.profiles import SUFFIX, shipped_profiles, write_profile

NAME = "paper-22nm"


def paper_profile() -> MacProfile:
    """Return the paper's MAC: delays are periods of the published clocks, energies power over the base clock."""
    values = read_mac()
    base_hz = read_statements()["base-clock"].value * 1e9
    delay_s = np.array([[float(f"{1 / value.frequency_hz:.5e}") for value in values]])
    energy_j = np.array([[float(f"{value.power_w / base_hz:.5e}") for value in values]])
    return MacProfile(
        NAME,
        "the HALO paper's 8-bit MAC in 22 nm, read from its figures 4 and 5: sensitised delays only, energies relative",
        np.array([value.weight for value in values], np.int16),
        (Corner("paper", 1.0, 25.0, "22 nm"),),
        delay_s,
        delay_s,
        energy_j,
        np.zeros(1),
        0.0,
        8,
        {
            "source": "HALO, AAAI-26, article 39406 (arXiv 2502.19662), figures 4 and 5, read from pixels, about 1 %",
            "status": "read from figures",
            "delay": "sensitised; no static delay is published, so delay_s repeats the sensitised delay",
            "energy": "published power over the base clock of 1.9 GHz; the paper names no clock, so only ratios hold",
            "leakage": "not published, written as 0",
            "area": "not published, written as 0",
            "corner": "supply of the paper's base point; temperature and process corner are not published",
            "adds": "a partial sum",
            "library": "22 nm, not named",
        },
    )


if __name__ == "__main__":
    folder = next(iter(shipped_profiles().values())).parent
    write_profile(paper_profile(), folder / f"{NAME}{SUFFIX}")
