"""The report on the HALO paper, one row for each claim.

`rows` holds the records; `markdown` and `page` write them as Markdown and as one HTML page.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
