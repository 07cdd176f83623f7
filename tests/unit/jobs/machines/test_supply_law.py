"""The law of a profile's own voltages, or an assumed one that says so."""

from dataclasses import replace

import pytest

from haloquant.errors import InfeasibleError
from haloquant.jobs.machines.supply_law import choose_supply_law, measured_supply_law
from haloquant.store.targets import read_systolic
from support.accel_cases import toy_profile
from support.machine_models import profile_of_a_known_law
from support.near import near


def test_the_fit_gives_back_the_law_scaled_to_the_machines_own_volts() -> None:
    profile, slower = profile_of_a_known_law()
    machine = read_systolic("edge_lpddr5x")
    law = choose_supply_law(profile, machine)
    assert law.source.startswith(
        "measured: fitted to 4 voltages of profile toy (1.2 to 1.8 V, tt, 25 °C, worst error 0.0%)"
    )
    assert law.lowest_v == near(1.2 / 1.8 * machine.base.voltage_v)
    for voltage_v, wanted in zip((1.2, 1.4, 1.6, 1.8), slower, strict=True):
        assert law.delay(voltage_v / 1.8 * machine.base.voltage_v) == near(wanted, rel=1e-3)


def test_one_voltage_gives_the_assumed_law_and_the_reason() -> None:
    """Delay is proportional to V / (V - 0.35)**1.3."""
    machine = read_systolic("edge_lpddr5x")
    law = choose_supply_law(toy_profile(), machine)
    assert law.source == (
        "ASSUMED, not measured: alpha-power law with a threshold of 0.35 V and an exponent of 1.3, down to 60% of the "
        "base supply; a V-f curve needs at least 3 voltages of one process and temperature, and toy has 1"
    )
    base = machine.base.voltage_v
    assert law.lowest_v == near(0.6 * base)
    assert law.delay(0.8 * base) == near(0.8 * ((base - 0.35) / (0.8 * base - 0.35)) ** 1.3)
    assert law.delay(base) == near(1.0)


def test_a_unit_of_one_voltage_takes_the_law_of_another_unit_of_its_library() -> None:
    machine, several = read_systolic("edge_lpddr5x"), profile_of_a_known_law()[0]
    lib = {"library": "lib, lib at another corner"}
    measured = replace(several, provenance=lib)
    alone = replace(toy_profile(), corners=several.corners[:1], provenance={"library": "lib"})
    law = choose_supply_law(alone, machine, lambda: [toy_profile(), measured])
    assert law.source.startswith("of another unit of lib, measured: fitted to 4 voltages of profile toy")
    assert law.lowest_v == near(1.2 / 1.8 * machine.base.voltage_v)
    for other in (replace(measured, provenance={"library": "else"}), replace(measured, corners=several.corners[::-1])):
        assert choose_supply_law(alone, machine, lambda other=other: [other]).source.startswith("ASSUMED")


def test_a_measured_law_is_refused_for_one_voltage() -> None:
    with pytest.raises(InfeasibleError, match=r"^a V-f curve needs at least 3 voltages .*, and toy has 1$"):
        measured_supply_law(toy_profile(), read_systolic("edge_lpddr5x"))
