"""Reference implementation of static timing, slow and simple. Only tests and benchmarks use it."""
