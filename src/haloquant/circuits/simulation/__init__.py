"""Timing simulation of a MAC: sensitised delay, toggles and energy for every weight value.

`value_table` is the entry. `stimuli` and `partial_sums` list transitions, `annotation` (by `switching_arcs`,
`registers`) gives delays and energies, `program` shares equal gates, `engine` runs `timed_gates` on `waveforms`
(`waveform_lanes`). `leakage` is static power. `dot_products` and `floating_point` give energies of such elements.
`reference` is slow and simple.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
