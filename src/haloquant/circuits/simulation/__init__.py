"""Timing simulation of a MAC: sensitised delay, toggles and energy for every weight value.

`stimuli` lists the transitions, `annotation` gives every gate its delays and energies, `program` shares equal gates
between weights, `engine` simulates them with `waveforms`. `value_table` is the entry.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
