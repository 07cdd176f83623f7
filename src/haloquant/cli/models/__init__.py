"""Commands about language models. `forecast_tables` presents what `--dry-run` predicts."""
