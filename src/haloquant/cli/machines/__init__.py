"""Commands about accelerators: `simulation`, `studies` of one model on one machine, and `codesign`, a search.

`options` holds the options that they share; `new_silicon` presents a comparison.
"""
