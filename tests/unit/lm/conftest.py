"""A tiny model, its quantized layers, and the packed folder of both."""

import shutil

import pytest

from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.packed import export_packed
from support.halo_layers import codebooks
from support.packed_folders import PROFILE
from support.tiny_model import quantized, save_llama


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    folder = save_llama(tmp_path_factory.mktemp("tiny") / "model")
    (folder / "tokenizer_config.json").write_text("{}")
    checkpoint = open_checkpoint(folder)
    return checkpoint, quantized(checkpoint, codebooks())


@pytest.fixture(scope="session")
def packed(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "halo"
    export_packed(*tiny, folder, **PROFILE)
    return folder


@pytest.fixture
def copy(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "copy")
