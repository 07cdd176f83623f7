"""A whole job that takes a second or two of work and as long to draw."""

from pathlib import Path

RECIPE = """
[model]
path = "{model}"
[text]
calibration = "{text}"
evaluation = "{text}"
calibration_tokens = 128
evaluation_tokens = 128
[hardware]
tile = 32
targets = ["edge_lpddr5x"]
gpus = []
[quantize]
rivals = ["gptq-w4-g128"]
sweep = []
[workload]
prefill_tokens = 16
decode_context = 16
"""


def save_recipe(file: Path, model: Path, text: Path) -> Path:
    file.write_text(RECIPE.format(model=model, text=text))
    return file


def save_recipe_of_one_goal(file: Path, model: Path, text: Path) -> Path:
    """The recipe without rivals and with `bal` alone: a third of the work, and a step of every kind."""
    save_recipe(file, model, text)
    file.write_text(file.read_text().replace('rivals = ["gptq-w4-g128"]', 'rivals = []\ngoals = ["bal"]'))
    return file


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name there."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
