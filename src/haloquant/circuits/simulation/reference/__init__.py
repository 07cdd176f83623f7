"""Reference implementations of the simulation, slow and simple. Only tests and cross-checks use them."""
