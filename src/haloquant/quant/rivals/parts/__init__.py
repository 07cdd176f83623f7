"""Parts that several rival methods use.

`kmeans` makes tables of centroids, `low_rank` side branches, `bit_counts` counts stored bits, and `row_parts` rounds
rows that have Hessians of their own.
"""
