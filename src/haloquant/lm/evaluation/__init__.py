"""Measure a model: perplexity, tasks of lm-eval, and the effect of rounded or missing activations.

`perplexity` scores windows of a text; `lm_eval_tasks` runs lm-eval offline (`lm_eval_model`), with `text_tasks` made
from a text and `finite_logits` as a check. `divergence` compares the predictions of two models. `early_exit` and
`exit_table` let tokens leave early. `rounded_activations` simulates the integer inputs of a MAC array, and
`sparse_inputs` leaves inputs out; `partial_sums` draws the sums that the array's MACs receive, and `negative_sums`
counts digits until a sum is negative.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
