"""Search elements, sets of words, tile sizes and supplies together, at one area: accuracy against rate and energy.

`word_sets` lists sets of words and `library_elements` elements. `word_losses` predicts the losses of words on a model,
`supplies` says what an element is at a lower supply, `array_cost` gives time and energy of a design, `front` holds
designs and finds which are not beaten, `evaluation` quantizes the front, `job` does it all. `search_result` holds the
settings and the result, and `result_files` writes it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
