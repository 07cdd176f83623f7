"""Read and write the files of the product: MAC profiles, targets, Liberty libraries, job steps and result tables.

`atomic_files` writes a file or a folder completely or not at all, and reads with a size limit; all others use it.
`finished_steps` and `arrays` store the intermediate results of a job. `profiles`, `targets`, `cell_libraries` and
`partial_sums` read inputs; `simulation_files` and `result_tables` write outputs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
