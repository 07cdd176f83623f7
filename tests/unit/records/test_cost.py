"""Costs of passes."""

from haloquant.records import Cost


def test_costs_add_part_by_part() -> None:
    one = Cost({"compute": 1.0, "dram": 2.0}, {"mac": 3.0}, 10, 1)
    both = one + Cost({"dram": 0.5, "fill": 0.25}, {"mac": 1.0}, 5, 0)
    assert both.time_s == {"compute": 1.0, "dram": 2.5, "fill": 0.25}
    assert list(both.time_s) == ["compute", "dram", "fill"]
    assert (both.total_time_s, both.total_energy_j) == (3.75, 4.0)
    assert (both.cycles, both.transitions) == (15, 1)
