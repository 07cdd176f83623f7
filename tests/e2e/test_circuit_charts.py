"""The pictures of the shipped MACs are drawn, and what the frontier shows is what the profiles hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("vl_convert")

from haloquant.errors import InputError
from haloquant.records import MacProfile
from haloquant.report.charts.circuits import by_weight, draw_circuits, frontier_rows, histogram, operating_points
from haloquant.store.profiles import find_profile, read_profile, shipped_profiles


@pytest.fixture(scope="module")
def profiles() -> dict[str, MacProfile]:
    return {name: read_profile(path) for name, path in shipped_profiles().items()}


def test_an_operating_point_admits_all_values_that_meet_it_and_no_other() -> None:
    profile = find_profile("default")
    points = operating_points(profile)
    assert points[-1].name == "all 256"
    for row in points:
        met = profile.delay_s[0] <= 1 / row.frequency_hz * (1 + 1e-12)
        assert row.values == profile.weights[met].tolist()
    assert len(points[0].values) >= 9


def test_the_best_mac_for_all_values_is_at_one_and_every_other_behind_it(profiles: dict[str, MacProfile]) -> None:
    rows = frontier_rows(profiles)
    drawn = [mac for mac in profiles.values() if mac.area_m2]  # the published MAC has no area
    assert len(rows) == 3 * len(drawn) == 3 * (len(profiles) - 1)
    panels = {str(row["panel"]) for row in rows}
    assert {panel.partition(", ")[2] for panel in panels} == {"multiplier alone", "multiplier and accumulator"}
    for panel in panels:
        whole = [row for row in rows if row["panel"] == panel and row["words"] == "all values"]
        assert max(float(row["speed"]) for row in whole) == 1.0
        # Elements for fewer values than 256 have a best of their own.
        for best in {row["best"] for row in whole}:
            own = next(row for row in whole if f"{row['library']}-{row['mac']}" == best)
            assert (own["area"], own["speed"]) == (1.0, 1.0)
    default = find_profile("default")
    nine = next(r for r in rows if f"{r['library']}-{r['mac']}" == default.name and str(r["words"]).startswith("9 "))
    assert nine["period_ps"] == pytest.approx(np.sort(default.delay_s[0])[8] * 1e12)


def test_every_picture_is_drawn_with_its_data(profiles: dict[str, MacProfile], tmp_path: Path) -> None:
    profile = find_profile("default")
    draw_circuits(profile, profiles, tmp_path / "macs.png")
    assert (tmp_path / "macs.png").read_bytes().startswith(b"\x89PNG")
    draw_circuits(profile, profiles, tmp_path / "macs.html")
    html = (tmp_path / "macs.html").read_text()
    assert '<script src="http' not in html
    assert all(name.partition("-")[2] in html for name, mac in profiles.items() if mac.area_m2)
    bars = histogram(profile).to_dict()["layer"][0]["data"]["values"]
    assert sum(bar["values"] for bar in bars) == 256
    with pytest.raises(InputError, match=r"the picture must be a \.html or a \.png file, not macs\.pdf"):
        draw_circuits(profile, profiles, tmp_path / "macs.pdf")


def test_energy_that_was_not_simulated_is_left_empty() -> None:
    profile = find_profile("default")
    bare = replace(profile, energy_j=np.full_like(profile.energy_j, np.nan))
    assert "NaN" not in by_weight(bare).to_json()
