"""Which model, texts and samples the rows of table 2 are made on."""

from dataclasses import dataclass
from pathlib import Path

from haloquant.recipe import Method

TOKENS = 8192  # of each evaluation text, and of calibration, unless another number is asked for


@dataclass(frozen=True)
class JudgedModel:
    """A model for the rows of table 2.

    Attributes:
        model: A model folder, a GGUF file, or `demo`.
        texts: Evaluation texts; `demo` is the text of the package.
        folder: Folder for finished steps; a rerun finds them there.
        tokens: Tokens of each text that are evaluated, in windows that are spread over it; 0 takes the whole text.
        window: Tokens of a window; None is the model's context, at most 2048.
        calibration_tokens: Tokens of the demo's calibration text.
        methods: How HALO's rows are rounded: as the paper describes, as this package rounds, or both.
    """

    model: str
    texts: tuple[str, ...]
    folder: Path
    tokens: int = TOKENS
    window: int | None = None
    calibration_tokens: int = TOKENS
    methods: tuple[Method, ...] = ("paper", "haloquant")
