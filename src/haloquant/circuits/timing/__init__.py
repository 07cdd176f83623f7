"""Static timing of a mapped MAC for every weight value.

`static_timing` times all values at once under `conditions`, from `endpoints` on, with `case_analysis` for constant
inputs and `propagation` as its compiled loops. `single_value` times one value; `paths` traces its longest path;
`path_report` prints it. `reference` is slow and simple.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
