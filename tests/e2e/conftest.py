from pathlib import Path

import pytest

from support.engine_jobs import job_of_one_process, layers_of_one_process
from support.small_job import save_recipe
from support.tiny_model import save_one_block, save_tiny

WORDS = "the ship went out upon the water and the keeper saw her light , but she was gone before the morning . "


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two blocks with a byte-level tokenizer: small enough to quantize many times over."""
    pytest.importorskip("transformers")
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def one_block_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of one narrow block: a quarter of the work of `tiny_folder`."""
    pytest.importorskip("transformers")
    return save_one_block(tmp_path_factory.mktemp("model") / "one_block")


@pytest.fixture(scope="session")
def small_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(WORDS * 12)
    return file


@pytest.fixture(scope="session")
def small_recipe(tiny_folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a whole job that takes seconds."""
    return save_recipe(tmp_path_factory.mktemp("recipe") / "recipe.toml", tiny_folder, small_text)


@pytest.fixture(scope="session")
def layers_alone(tiny_folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed model that one process makes."""
    return layers_of_one_process(tiny_folder, small_text, tmp_path_factory.mktemp("alone") / "out")


@pytest.fixture(scope="session")
def job_alone(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the whole job that one process makes."""
    return job_of_one_process(small_recipe, tmp_path_factory.mktemp("alone") / "out")
