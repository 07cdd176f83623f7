"""Charts as Vega-Lite specifications; each module draws the charts of one kind of result.

`job` and `sweeps` draw the report's charts, `paper` those on the HALO paper, `circuits` those of MAC profiles,
`machines` and `policies` those of simulations, `exploration` the Pareto front, `codesign` that of a search. `labels`
places the names of dots.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
