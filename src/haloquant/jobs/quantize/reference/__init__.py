"""Reference implementations, slow and simple, of the passes over a model that is in memory. Only tests use them.

`tile_losses` gives the loss of every tile.
"""
