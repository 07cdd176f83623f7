"""Parts that several rival methods use: k-means, low-rank branches, offsets and counts of stored bits."""
