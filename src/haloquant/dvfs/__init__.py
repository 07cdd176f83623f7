"""Dynamic voltage and frequency scaling (DVFS): operating points of a MAC, and schedules of tiles over them.

`operating_points` relates weight values and clock periods, `alpha_power_law` and `supply_modes` clocks and voltages;
`classes` chooses codebooks. `schedule` plans a pass over tiles (`tile_index`), with `order` for few transitions, or
`static_islands` for none. `sentence_deadline` clocks decode steps with early exit. `reference` is slow and simple.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
