"""What several rival methods share: uniform grids, k-means, low-rank branches, offsets and counts of stored bits."""
