from .import_hook import register_with_transformers as register_with_transformers

__all__ = [
    "register_with_transformers",
]
