"""Commands about language models.

`commands` makes, converts and checks packed models. `evaluation`, `measurement`, `early_exit`, `recovery` and
`transfer` hold the commands of their names. `forecast_tables` presents what `--dry-run` predicts.
"""
