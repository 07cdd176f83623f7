"""Packed model folders whose configuration is edited, as an editor or a bad merge would."""

import json

from haloquant.lm.packed.config import digest
from haloquant.lm.packed.reader import open_packed, tensor_digest

PROFILE = {"profile_name": "booth8", "profile_sha256": "ab" * 32}


def edit(folder, change) -> None:
    """Change config.json, and the manifest with it, as an editor or a bad merge would."""
    config = json.loads((folder / "config.json").read_text())
    change(config["quantization_config"])
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "halo_manifest.json").unlink()


def reseal(folder) -> None:
    """Give the folder a right digest, so that what stands behind it is tested too."""
    model = open_packed(folder)
    version = model.config.version
    sha = digest(model.config, {name: tensor_digest(tensor, version) for name, tensor in model.tensors.items()})
    edit_again = json.loads((folder / "config.json").read_text())
    edit_again["quantization_config"]["sha256"] = sha
    (folder / "config.json").write_text(json.dumps(edit_again))


def set_item(key, value):
    def change(config):
        config[key] = value

    return change


def set_book(key, value):
    def change(config):
        config["codebooks"][0][key] = value

    return change
