"""Present the numbers of a job: `results` is the record, and all other modules draw or print it.

`warnings` adds the sentences about limits to the record. `tables` and `gpu_table` format tables and `charts` draws
charts; `page` joins them to one HTML file, `chart_page` holds a single chart, and `markdown` writes the tables as text.
`paper` is the report on the HALO paper.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
