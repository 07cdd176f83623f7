"""A model of transformers as lm-eval calls it: offline, with its progress, and with a token to begin a text with."""

import warnings
from collections.abc import Callable
from typing import Any

from haloquant.errors import InputError, MissingExtraError

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.models.huggingface import HFLM
        from lm_eval.utils import get_rolling_token_windows
except ImportError as error:  # pragma: no cover - depends on the installation
    raise MissingExtraError("lm-eval is not installed: pip install 'haloquant[eval]'") from error

Tell = Callable[[int, int], None]  # called with the requests that are scored, and all
_Model: Any = HFLM  # lm-eval's decorators hide the signatures from type checkers


class LocalModel(_Model):
    """The transformers model of lm-eval, without the request for the model's revision to a hub.

    It tells of every request that the model has scored, and of how many there are.
    """

    tell: Tell
    _scored = _requests = 0
    _rolling = False

    def get_model_info(self) -> dict[str, Any]:
        """Return nothing: lm-eval asks a hub for the model's revision."""
        return {}

    def _loglikelihood_tokens(self, requests: Any, *arguments: Any, **settings: Any) -> Any:
        inherited = super()._loglikelihood_tokens
        if self._rolling:  # the windows of one document
            return inherited(requests, *arguments, **settings)
        self._scored, self._requests = 0, len(requests)
        found = inherited(requests, *arguments, **settings)
        self.tell(self._requests, self._requests)  # requests with the same context are scored at once
        return found

    def _model_call(self, *arguments: Any, **settings: Any) -> Any:
        self.tell(min(self._scored, self._requests), self._requests)
        self._scored += 1
        return super()._model_call(*arguments, **settings)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
        """Return lm-eval's log-likelihoods of whole documents, without a second beginning token."""
        self.add_bos_token = False  # the rolling protocol adds the prefix token itself, and it must not be predicted
        self._rolling, self._scored, self._requests = True, 0, sum(self._windows(request) for request in requests)
        try:
            found = super().loglikelihood_rolling(requests, disable_tqdm)
            self.tell(self._requests, self._requests)
            return found
        finally:
            self.add_bos_token, self._rolling = None, False

    def _windows(self, request: Any) -> int:
        """Return how many windows of a document are scored, one after another."""
        (text,) = request.args
        ids = self.tok_encode(text)
        return len(list(get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, context_len=1)))


def prefix_token(model: Any, tokenizer: Any) -> int | None:
    """Return the token before a text: None if lm-eval finds one in the tokenizer, else the one in config.json.

    Raises:
        InputError: Neither has one; lm-eval would fail in the middle of the evaluation.
    """
    if tokenizer.bos_token_id is not None or tokenizer.eos_token_id is not None:
        return None
    for token in (model.config.bos_token_id, model.config.eos_token_id):
        token = token[0] if isinstance(token, list) and token else token
        if isinstance(token, int):
            return token
    raise InputError(
        "a model for lm-eval must name a token to begin a text with, and neither tokenizer nor config.json has one: "
        "give tokenizer_config.json a bos_token or an eos_token"
    )
