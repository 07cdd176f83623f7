"""What several rival methods share: k-means, low-rank branches, offsets and counts of stored bits."""
