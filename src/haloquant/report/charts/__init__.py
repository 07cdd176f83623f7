"""Charts as Vega-Lite specifications; each module draws the charts of one kind of result.

`job` and `sweeps` draw the report's charts, `circuits` those of MAC profiles, `machines` and `policies` those of
simulations, `exploration` the Pareto front. `labels` places the names of dots.
"""
