"""Early exit: losses of tokens that leave early, and sentences of such tokens in their time on a machine.

`losses` evaluates a model; `block_costs` simulates its blocks at each supply; `sentences` puts both together.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
