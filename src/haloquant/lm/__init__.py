"""Language models: from a checkpoint to statistics, an exported model, and its evaluation.

`checkpoint` reads weights, `calibration` runs the model and collects statistics, `export` writes quantized models,
`packed` reads packed ones, `integrations` runs those in transformers and vLLM, `evaluation` measures models. Modules:
`text` (tokens), `torch_model` (a model in memory), `swap_weights` (weights replaced within a `with` block).
"""
