"""Reference implementations of the simulation, slow and simple. Only tests and cross-checks use them.

`event_queue` simulates one transition; `constants` finds the nets that are constant for one weight.
"""
