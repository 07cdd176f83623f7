"""Profiles on disk: the same to the last bit, and refused where damaged."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from haloquant.errors import InputError, ProfileError
from haloquant.records import Corner, MacProfile
from haloquant.store.paper_figures import read_mac
from haloquant.store.profiles import (
    fastest_for_any_value,
    find_profile,
    profile_sha256,
    read_profile,
    shipped_dot_products,
    shipped_profiles,
    write_profile,
)


def toy() -> MacProfile:
    delay_s = np.array([[1.1e-10, 0.0, 1 / 3 * 1e-10]])
    energy_j = np.array([[1e-15, np.nan, 7e-16]])
    weights = np.array([-1, 0, 1], dtype=np.int16)
    corners = (Corner("tt", 1.1, 25.0),)
    sensitised = np.full((1, 3), np.nan)
    return MacProfile(
        "toy", "a toy", weights, corners, delay_s, sensitised, energy_j, np.array([1e-9]), 1e-9, 8, {"a": "b"}
    )


def test_round_trip(tmp_path: Path):
    path = tmp_path / "toy.json"
    write_profile(toy(), path)
    back = read_profile(path)
    for name in toy().__dataclass_fields__:
        np.testing.assert_array_equal(getattr(back, name), getattr(toy(), name))
    assert find_profile(str(path)).name == "toy"


CHANGED = {
    "name": "other",
    "description": "another toy",
    "weights": np.array([-2, 0, 1], dtype=np.int16),
    "corners": (Corner("tt", 1.0, 25.0),),
    "delay_s": np.array([[1.1e-10, 0.0, np.nextafter(1 / 3 * 1e-10, 1)]]),
    "sensitised_delay_s": np.full((1, 3), 1e-11),
    "energy_j": np.array([[1e-15, np.nan, 8e-16]]),
    "leakage_w": np.array([2e-9]),
    "area_m2": 2e-9,
    "activation_bits": 7,
    "provenance": {"a": "c"},
}


def test_the_hash_of_a_profile_covers_every_field_and_is_the_checksum_of_its_file(tmp_path: Path):
    assert CHANGED.keys() == toy().__dataclass_fields__.keys()
    hashes = {profile_sha256(replace(toy(), **{field: value})) for field, value in CHANGED.items()}
    assert len(hashes | {profile_sha256(toy())}) == len(CHANGED) + 1
    write_profile(toy(), tmp_path / "toy.json")
    assert profile_sha256(read_profile(tmp_path / "toy.json")) == profile_sha256(toy())
    assert json.loads((tmp_path / "toy.json").read_text())["sha256"] == profile_sha256(toy())
    for file in shipped_profiles().values():
        assert json.loads(file.read_text())["sha256"] == profile_sha256(read_profile(file))


@pytest.mark.parametrize("field", Corner.__dataclass_fields__)
def test_the_hash_of_a_profile_covers_every_field_of_a_corner(field: str):
    other = {"name": "x", "voltage_v": 1.2, "temperature_c": 26.0, "process": "ss"}[field]
    changed = replace(toy(), corners=(replace(toy().corners[0], **{field: other}),))
    assert profile_sha256(changed) != profile_sha256(toy())


def test_damage_is_noticed(tmp_path: Path):
    path = tmp_path / "toy.json"
    write_profile(toy(), path)
    path.write_text(path.read_text().replace("a toy", "a joy"))
    with pytest.raises(
        ProfileError, match=r"must have the checksum it names, and has not: it is damaged or was edited"
    ):
        read_profile(path)


def test_truncation_and_other_formats(tmp_path: Path):
    path = tmp_path / "toy.json"
    write_profile(toy(), path)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ProfileError, match=r"toy.json must be a MAC profile"):
        read_profile(path)
    document = json.loads(text)
    path.write_text(json.dumps({**document, "format": "something-9"}))
    with pytest.raises(ProfileError, match=r"must have the format haloquant-profile-1, not 'something-9'"):
        read_profile(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"area_m2": -1.0}, r"area_m2 must be 1e-18 to 1, not -1$"),
        ({"area_m2": 1e30}, r"area_m2 must be 1e-18 to 1, not 1e\+30$"),
        ({"activation_bits": 0}, r"activation_bits must be 1 to 64, not 0$"),
        ({"leakage_w": np.array([-1.0])}, r"leakage_w of tt must be 0 to 1000, not -1$"),
        ({"corners": (Corner("tt", 0.0, 25.0),)}, r"voltage_v of tt must be 0\.01 to 100, not 0$"),
        ({"corners": (Corner("tt", 1.0, -300.0),)}, r"temperature_c of tt must be -273\.15 to 1000, not -300$"),
        ({"delay_s": np.array([[1e30, 0.0, 1e-10]])}, r"delay_s must be 0, or 1e-18 to 1 s, not 1e\+30$"),
        ({"delay_s": np.zeros((1, 3))}, r"delay_s must be above 0 for some weight at every corner"),
        ({"delay_s": np.array([[np.nan, 0.0, 1e-10]])}, r"delay_s must be a number for every weight, not null$"),
        ({"energy_j": np.array([[-1e-15, 0.0, 1e-15]])}, r"energy_j must be 0, or 1e-24 to 1 J, or null, not -1e-15$"),
        (
            {"provenance": {"result_format": "e4m3"}},
            r"result_format of the provenance must be one of fixed, float16, bf",
        ),
        (
            {"provenance": {"activation_format": "x"}},
            r"activation_format .* must be one of integer, e4m3, e5m2, not 'x'$",
        ),
        ({"provenance": {"weight_pins": "-1"}}, r"weight_pins of the provenance must be a whole number, not '-1'$"),
        ({"provenance": {"products": "9" * 30}}, r"products of the provenance must be a whole number, not '9+'$"),
        ({"provenance": {"products": "99999"}}, r"products of the provenance must be 0 to 1024, not 99999$"),
        ({"provenance": {"register_area_m2": "x"}}, r"register_area_m2 of the provenance must be a number, not 'x'$"),
        ({"provenance": {"multiples_j": "nan"}}, r"multiples_j of the provenance must be 0 to 1, not nan$"),
        ({"name": "\x1b[31mred"}, r"the name must be 1 to 200 printable characters, not '"),
    ],
)
def test_numbers_that_no_mac_has_are_refused(changes: dict[str, object], sentence: str, tmp_path: Path):
    """The checksum is right: the file was made so."""
    write_profile(replace(toy(), **changes), tmp_path / "toy.json")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ProfileError, match=sentence):
        read_profile(tmp_path / "toy.json")


def test_unknown_name():
    with pytest.raises(InputError, match=r"the profile must be a file or one of .*, not 'no-such-profile'"):
        find_profile("no-such-profile")


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_are_sound(name: str):
    profile = find_profile(name)
    assert profile.name == name
    if name == "paper-22nm":  # read from figures: the next test judges it
        return
    assert profile.description and profile.provenance["liberty_sha256"]
    assert profile.provenance["checked"].endswith("against weight * activation + partial")
    zero = np.searchsorted(profile.weights, 0)
    assert (profile.delay_s[:, zero] <= profile.delay_s.min(axis=1)).all()
    if "serial" in name:  # its registers feed themselves: not simulated, and it says so
        assert np.isnan(profile.energy_j).all() and profile.provenance["energy"] == "not simulated"
        assert np.ptp(profile.delay_s) < 0.02 * profile.delay_s.max()
        return
    known = ~np.isnan(profile.sensitised_delay_s)
    assert (profile.sensitised_delay_s[known] <= profile.delay_s[known] * (1 + 1e-5)).all()
    assert known[0].all() and not np.isnan(profile.energy_j).any()
    assert (profile.leakage_w > 0).all() and profile.area_m2 > 0


@pytest.mark.parametrize("name", shipped_dot_products())
def test_shipped_dot_products_are_sound(name: str):
    """One clock for all words; a word of more rows draws more than one of none; areas fall with shared accumulators."""
    profile = find_profile(name)
    assert profile.name == name and profile.provenance["wires"] == "none"
    assert np.ptp(profile.delay_s) == 0 and profile.energy_j[0].argmin() == np.searchsorted(profile.weights, 0)
    assert int(profile.provenance["checked"].split()[0].replace(",", "")) == int(profile.provenance["products"]) * (
        256 * profile.weights.size
    )
    alone = re.sub(r"x\d+(c\d)?-", "x1-", name)
    native = f"{name.partition('-')[0]}-digitsdaddaw4a8-cs4-abc"  # an accumulator for one product, too
    single = find_profile(alone if alone in shipped_dot_products() else native)
    assert profile.area_m2 <= single.area_m2 and profile.energy_j.mean() <= single.energy_j.mean()


def test_figures_of_other_trials_are_met():
    """Trials with other scripts and ABC runs gave, for 8 products, ps x um2 x fJ with the static weight bits."""
    figures = {
        "booth4": 279 * 17.6 * 54,
        "int4m": 268 * 16.6 * 43,
        "e2m1": 300 * 15.2 * 41,
        "onedigit": 266 * 12.6 * 38,
    }
    for rows, wanted in figures.items():
        ours = [
            float(p.delay_s[0, 0] * (p.area_m2 + int(p.provenance["weight_pins"]) * 2.9e-13) * p.energy_j[0].mean())
            for p in (find_profile(f"asap7-{rows}x8{cut}-dot-abc") for cut in ("", "c4"))
        ]
        assert 0.8 < min(ours) / (wanted * 1e-39) < 1.2


def test_a_unit_that_lacks_some_of_the_values_is_no_baseline_for_them():
    known = [replace(toy(), name="few", weights=np.array([-1, 0, 4], np.int16), delay_s=np.full((1, 3), 1e-12))]
    assert fastest_for_any_value(toy(), known).name == toy().name
    assert fastest_for_any_value(known[0], [toy()]).name == "few"
    quick = replace(toy(), name="quick", delay_s=np.full((1, 3), 1e-12))
    assert fastest_for_any_value(toy(), [*known, quick]).name == "quick"


def test_sensitised_delays_are_named_so_and_corners_without_them_are_left_out() -> None:
    plain, quick = find_profile("default"), find_profile("default@sensitised")
    assert quick.name == f"{plain.name}@sensitised" and (quick.delay_s[0] == plain.sensitised_delay_s[0]).all()
    assert find_profile("default", "sensitised").name == find_profile("default@sensitised", "sensitised").name
    some = plain.sensitised_delay_s[0] > 0
    longest = (plain.delay_s[0][some] / plain.sensitised_delay_s[0][some]).max() - 1
    assert quick.provenance["delay"] == f"sensitised: static delays are up to {longest:.0%} longer"
    assert profile_sha256(quick) != profile_sha256(plain)
    many = find_profile("sky130hd-digitsdadda_ks+lone-mul-abc@sensitised")
    assert len(many.corners) == len(many.delay_s) and not np.isnan(many.delay_s).any()
    with pytest.raises(ProfileError, match=r"must hold the sensitised delay of every weight value, and lacks that of"):
        find_profile("asap7-serial-abc@sensitised")


def test_the_profile_of_the_paper_is_its_figures_and_says_what_it_lacks() -> None:
    profile, published = find_profile("paper-22nm"), read_mac()
    assert profile.weights.tolist() == [value.weight for value in published] == list(range(-128, 128))
    assert 1 / profile.delay_s[0] == pytest.approx([value.frequency_hz for value in published], rel=1e-5)
    assert (profile.sensitised_delay_s == profile.delay_s).all() and profile.provenance["delay"].startswith(
        "sensitised"
    )
    power = np.array([value.power_w for value in published])
    assert profile.energy_j[0] / profile.energy_j[0].mean() == pytest.approx(power / power.mean(), rel=1e-5)
    assert profile.provenance["status"] == "read from figures" and profile.area_m2 == profile.leakage_w[0] == 0
