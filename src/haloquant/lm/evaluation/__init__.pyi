from .lm_eval_tasks import evaluate_tasks as evaluate_tasks
from .lm_eval_tasks import evaluate_text as evaluate_text
from .lm_eval_tasks import evaluate_wikitext as evaluate_wikitext
from .perplexity import Perplexity as Perplexity
from .perplexity import default_window as default_window
from .rounded_activations import activations_per_tensor as activations_per_tensor
from .rounded_activations import activations_per_token as activations_per_token

__all__ = [
    "Perplexity",
    "activations_per_tensor",
    "activations_per_token",
    "default_window",
    "evaluate_tasks",
    "evaluate_text",
    "evaluate_wikitext",
]
