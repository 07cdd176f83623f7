"""Read and write the files of the product, with `atomic_files`: bounded reads, and writes that are whole or absent.

`profiles`, `targets` (`toml_quantities`), `platforms`, `cell_libraries` (`cell_library_codec`), `paper_figures` and
`partial_sums` read inputs; `placeholder_files` recognizes what stands in place of one. `arrays` and `finished_steps`
keep the steps of a job. `simulation_files` and `result_tables` write outputs; `temporary_paths` names and removes
temporary ones.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
