"""Parts that several rival methods use: k-means, low-rank branches and counts of stored bits."""
