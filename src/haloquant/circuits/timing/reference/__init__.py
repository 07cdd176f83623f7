"""Reference implementation of static timing, slow and simple: `delays`. Only tests and benchmarks use it."""
