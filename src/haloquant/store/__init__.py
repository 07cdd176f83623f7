"""The file edge: atomic writes, checksums, locks, caches and the readers of what is kept in files."""
