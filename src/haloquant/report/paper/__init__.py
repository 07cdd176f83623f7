"""The report on the HALO paper: its rows as records, and the same rows as Markdown and as one HTML page."""
