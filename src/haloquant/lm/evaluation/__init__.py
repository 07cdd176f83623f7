"""Measure a model: perplexity, tasks of lm-eval, and the effect of rounded activations.

`perplexity` scores windows of a text, `lm_eval_tasks` runs lm-eval offline. `rounded_activations` simulates the
integer inputs of a MAC array during either. `partial_sums` draws the sums that a MAC of this array receives.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
