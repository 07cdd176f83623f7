from .torch_layer import TorchLayer as TorchLayer

__all__ = ["TorchLayer"]
