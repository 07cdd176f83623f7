"""Jobs: the work of each command of haloquant, from its inputs to its files.

`inputs` opens models and texts. `quantize` quantizes a checkpoint, `compare` compares methods on one model,
`exploration` searches MACs and tile sizes, `machines` simulates, `mac` characterizes a MAC, `evaluation` measures
perplexity, and `explain_tiles` explains classes. `engine` runs their tasks; finished steps are kept (`step_files`).
"""
