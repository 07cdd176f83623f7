"""Read and write MAC profiles as JSON files of bounded size, with a checksum over the profile's content."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Float64

from haloquant.circuits.number_formats import OPERAND_FORMATS, SUM_FORMATS, float8_patterns
from haloquant.errors import MALFORMED, InputError, ProfileError
from haloquant.records import Corner, MacProfile
from haloquant.store.atomic_files import read_bounded, sha256_bytes, write_bytes

FORMAT = "haloquant-profile-1"
SUFFIX = ".profile.json"
DEFAULT = "asap7-digitsdadda_ks+both-mul-abc"  # docs/decisions/0003-default-profile.md gives the reasons
FIGURE_4 = "sky130hd-smarray_bk-mul-fa"  # of all units tried the nearest to figure 4 of the HALO paper (docs/paper.md)
PAPER_MAC = "paper-22nm"  # the MAC of the HALO paper, read from its figures 4 and 5
_OTHER_NAMES = {"default": DEFAULT, "figure-4": FIGURE_4}
SENSITISED = "@sensitised"  # behind a profile's name: its sensitised delays set the clocks
_LIMIT_BYTES = 1 << 24
_COUNTS_SAID = {
    "weight_pins": 1 << 10,
    "activation_pins": 1 << 10,
    "products": 1 << 10,
}  # of the provenance, with limits
_QUANTITIES_SAID = (
    "register_area_m2", "multiples_area_m2", "multiples_j", "activation_register_j", "activation_input_j",
)  # fmt: skip
_MOST_DIGITS, _MOST_CHARACTERS = 9, 200
_SHIPPED = Path(__file__).resolve().parents[1] / "data" / "profiles"

_Row = list[float | None]  # None means that the value was not simulated


class _Corner(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    voltage_v: float
    temperature_c: float
    process: str
    leakage_w: float
    delay_s: _Row
    sensitised_delay_s: _Row
    energy_j: _Row


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: str
    area_m2: float
    activation_bits: int
    weights: list[int]
    corners: list[_Corner]
    provenance: dict[str, str]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    sha256: str
    profile: msgspec.Raw


def profile_sha256(profile: MacProfile) -> str:
    """Return the SHA-256 by which a packed model and a finished step name the profile that they were made for.

    It covers every field of the record. It is the checksum that `write_profile` puts into the file.
    """
    return sha256_bytes(_encode(profile))


def write_profile(profile: MacProfile, path: Path) -> None:
    """Write a profile as JSON; `read_profile` gives back exactly the same numbers."""
    raw = _encode(profile)
    write_bytes(path, msgspec.json.encode(_File(FORMAT, sha256_bytes(raw), msgspec.Raw(raw))) + b"\n")


def _encode(profile: MacProfile) -> bytes:
    body = _Body(
        profile.name,
        profile.description,
        profile.area_m2,
        profile.activation_bits,
        profile.weights.tolist(),
        [
            _Corner(
                corner.name,
                corner.voltage_v,
                corner.temperature_c,
                corner.process,
                float(profile.leakage_w[i]),
                _row(profile.delay_s[i]),
                _row(profile.sensitised_delay_s[i]),
                _row(profile.energy_j[i]),
            )
            for i, corner in enumerate(profile.corners)
        ],
        dict(profile.provenance),
    )
    return msgspec.json.encode(body, order="deterministic")


def read_profile(path: Path) -> MacProfile:
    """Read a profile.

    Raises:
        InputError: The file is missing or too large.
        ProfileError: The file is not a profile, is damaged, or holds impossible values.
    """
    data = read_bounded(path, _LIMIT_BYTES)
    try:
        file = msgspec.json.decode(data, type=_File)
        raw = bytes(file.profile)
        if file.format != FORMAT:
            raise ProfileError(f"{path} must have the format {FORMAT}, not {file.format[:60]!r}")
        if sha256_bytes(raw) != file.sha256:
            raise ProfileError(f"{path} must have the checksum it names, and has not: it is damaged or was edited")
        body = msgspec.json.decode(raw, type=_Body)
    except MALFORMED as error:
        raise ProfileError(f"{path} must be a MAC profile: {error}") from error
    return _profile(body, path)


def shipped_profiles() -> dict[str, Path]:
    """Return the files of the profiles that come with the package, by name, in alphabetical order."""
    return {path.name.removesuffix(SUFFIX): path for path in sorted(_SHIPPED.glob(f"*{SUFFIX}"))}


def shipped_dot_products() -> dict[str, Path]:
    """Return the files of the dot-product elements that come with the package, by name, in alphabetical order."""
    return {path.name.removesuffix(SUFFIX): path for path in sorted((_SHIPPED / "dot_products").glob(f"*{SUFFIX}"))}


def find_profile(name: str, basis: str = "static") -> MacProfile:
    """Return a shipped profile by its name, or read the profile from a file.

    `default` means `DEFAULT`, and `figure-4` means `FIGURE_4`.

    Dot-product elements that come with the package have names, too (`shipped_dot_products`).

    Behind the name or the path, `@sensitised` asks for the profile with its sensitised delays (`on_sensitised_delays`),
    as the basis "sensitised" does.

    Raises:
        InputError: There is no such profile, or the file is too large.
        ProfileError: The file is not a profile, or it holds no sensitised delays and they are asked for.
    """
    if basis == "sensitised":
        name = name.removesuffix(SENSITISED) + SENSITISED
    if name.endswith(SENSITISED):
        return on_sensitised_delays(find_profile(name.removesuffix(SENSITISED)))
    shipped = shipped_profiles()
    name = _OTHER_NAMES.get(name, name)
    if found := shipped.get(name) or shipped_dot_products().get(name):
        return read_profile(found)
    if not Path(name).is_file():
        raise InputError(f"the profile must be a file or one of {', '.join(shipped) or 'none shipped'}, not {name!r}")
    return read_profile(Path(name))


def on_sensitised_delays(profile: MacProfile) -> MacProfile:
    """Return the profile with its sensitised delays in place of the static ones, under the name NAME@sensitised.

    A sensitised delay is the longest that a simulated activation transition toggled. The provenance says how much
    longer the static delays are. Corners without sensitised delays are left out.

    Raises:
        ProfileError: At the first corner a sensitised delay is not known.
    """
    unknown = profile.weights[np.isnan(profile.sensitised_delay_s[0])]
    if unknown.size:
        raise ProfileError(
            f"profile {profile.name} must hold the sensitised delay of every weight value, and lacks that of "
            f"{unknown.size}, first {unknown[0]}; characterize it without --static-only, or use static delays"
        )
    known = np.nonzero(~np.isnan(profile.sensitised_delay_s).any(axis=1))[0]
    static, toggled = profile.delay_s[known], profile.sensitised_delay_s[known]
    ratio = np.divide(static, toggled, out=np.ones_like(static), where=toggled > 0)
    said = profile.provenance.get("delay", f"sensitised: static delays are up to {ratio.max() - 1:.0%} longer")
    return replace(
        profile,
        name=profile.name + SENSITISED,
        corners=tuple(profile.corners[index] for index in known),
        delay_s=toggled,
        sensitised_delay_s=toggled,
        energy_j=profile.energy_j[known],
        leakage_w=profile.leakage_w[known],
        provenance={**profile.provenance, "delay": said},
    )


def has_accumulator(profile: MacProfile) -> bool:
    """Return whether the MAC adds a partial sum to the product.

    Only MACs of the same kind have comparable speeds. A profile whose provenance lacks the key "adds" says in its
    description whether the circuit is a multiplier alone.
    """
    adds = profile.provenance.get("adds")
    return "multiplier alone" not in profile.description if adds is None else adds != "nothing"


def fastest_for_any_value(profile: MacProfile, others: Iterable[MacProfile]) -> MacProfile:
    """Return the comparable MAC whose slowest weight value is fastest.

    A codebook of a few fast values is an absolute gain only if it is faster than this MAC, which takes any value.
    A MAC is comparable if its first corner and its first library are those of `profile`, if both or neither have an
    accumulator, and if it holds all of the profile's values. `profile` itself is one of the candidates.
    """
    alike = [
        other
        for other in others
        if other.corners[0] == profile.corners[0]
        and other.library == profile.library
        and has_accumulator(other) == has_accumulator(profile)
        and all(
            other.provenance.get(key) == profile.provenance.get(key)
            for key in ("weight_format", "activation_format", "result_format")
        )
        and bool(np.isin(profile.weights, other.weights).all())
    ]
    return min([*alike, profile], key=lambda other: float(other.delay_s[0].max()))


def _row(values: Float64[np.ndarray, " w"]) -> _Row:
    return [None if math.isnan(value) else value for value in values.tolist()]


def _profile(body: _Body, path: Path) -> MacProfile:
    count = len(body.weights)
    if count < 2 or any(a >= b for a, b in zip(body.weights, body.weights[1:], strict=False)):
        raise ProfileError(f"{path}: the weights must be two or more in ascending order")
    if not -(1 << 15) <= body.weights[0] <= body.weights[-1] < 1 << 15:
        raise ProfileError(f"{path}: the weights must fit in 16 bits")
    if not body.corners:
        raise ProfileError(f"{path}: there must be at least one corner")
    _check_numbers(body, path)
    return MacProfile(
        body.name,
        body.description,
        np.array(body.weights, dtype=np.int16),
        tuple(Corner(c.name, c.voltage_v, c.temperature_c, c.process) for c in body.corners),
        _table([c.delay_s for c in body.corners], count, "delay_s", path, required=True),
        _table([c.sensitised_delay_s for c in body.corners], count, "sensitised_delay_s", path, required=False),
        _table([c.energy_j for c in body.corners], count, "energy_j", path, required=False),
        np.array([c.leakage_w for c in body.corners], dtype=np.float64),
        body.area_m2,
        body.activation_bits,
        body.provenance,
    )


def _table(
    rows: Sequence[_Row], count: int, name: str, path: Path, *, required: bool
) -> Float64[np.ndarray, "corner w"]:
    if any(len(row) != count for row in rows):
        raise ProfileError(f"{path}: {name} must have one value for each of the {count} weights at every corner")
    table = np.array([[math.nan if value is None else value for value in row] for row in rows], dtype=np.float64)
    least, most, unit = (1e-24, 1.0, "J") if name == "energy_j" else (1e-18, 1.0, "s")
    wrong = table[~(np.isnan(table) | (table == 0) | ((table >= least) & (table <= most)))]
    if required and np.isnan(table).any():
        raise ProfileError(f"{path}: {name} must be a number for every weight, not null")
    if wrong.size:
        null = "" if required else ", or null"
        raise ProfileError(f"{path}: {name} must be 0, or {least:g} to {most:g} {unit}{null}, not {wrong[0]:g}")
    if required and not table.max(axis=1).all():
        raise ProfileError(f"{path}: {name} must be above 0 for some weight at every corner, and one corner has none")
    return table


def _check_numbers(body: _Body, path: Path) -> None:
    """Refuse numbers that no MAC has, and a name that no table can show.

    Raises:
        ProfileError: There is one.
    """
    if not body.name.isprintable() or not 0 < len(body.name) <= _MOST_CHARACTERS:
        raise ProfileError(
            f"{path}: the name must be 1 to {_MOST_CHARACTERS} printable characters, not {body.name!r:.80}"
        )
    numbers: list[tuple[str, float, float, float]] = [
        ("activation_bits", body.activation_bits, 1, 64),
    ]
    if body.area_m2:  # 0: not known
        numbers.append(("area_m2", body.area_m2, 1e-18, 1))
    for corner in body.corners:
        numbers.append((f"voltage_v of {corner.name}", corner.voltage_v, 0.01, 100))
        numbers.append((f"temperature_c of {corner.name}", corner.temperature_c, -273.15, 1000))
        numbers.append((f"leakage_w of {corner.name}", corner.leakage_w, 0, 1000))
    for name, most in _COUNTS_SAID.items():
        if (said := body.provenance.get(name)) is not None:
            if not said.isdecimal() or len(said) > _MOST_DIGITS:
                raise ProfileError(f"{path}: {name} of the provenance must be a whole number, not {said!r:.80}")
            numbers.append((f"{name} of the provenance", int(said), 0, most))
    for key, known in (
        ("weight_format", OPERAND_FORMATS), ("activation_format", OPERAND_FORMATS), ("result_format", SUM_FORMATS),
    ):  # fmt: skip
        if (said := body.provenance.get(key, known[0])) not in known:
            raise ProfileError(f"{path}: {key} of the provenance must be one of {', '.join(known)}, not {said!r:.80}")
    form = body.provenance.get("weight_format", "integer")
    if form != "integer" and not set(body.weights) <= set(float8_patterns(form).tolist()):
        raise ProfileError(f"{path}: the weights must be bit patterns of numbers in {form}, as its weight_format says")
    for name in _QUANTITIES_SAID:
        if (said := body.provenance.get(name)) is not None:
            try:
                numbers.append((f"{name} of the provenance", float(said), 0, 1))
            except ValueError:
                raise ProfileError(f"{path}: {name} of the provenance must be a number, not {said!r:.80}") from None
    for name, value, least, most in numbers:
        if not least <= value <= most:
            raise ProfileError(f"{path}: {name:.80} must be {least:g} to {most:g}, not {value:g}")
