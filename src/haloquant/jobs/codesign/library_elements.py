"""The elements of one cell library: those of the package, and those that the user names."""

from collections.abc import Sequence
from pathlib import Path

from haloquant.accel.elements import element_of, is_floating, is_whole
from haloquant.errors import InputError, LibertyError
from haloquant.jobs.mac.profile_building import has_flip_flop
from haloquant.jobs.machines.new_silicon import PLAIN_ELEMENT
from haloquant.records import MacProfile
from haloquant.store.cell_libraries import read_library
from haloquant.store.profiles import find_profile, read_profile, shipped_dot_products, shipped_profiles


def library_elements(library: str, named: Sequence[str] = ()) -> list[MacProfile]:
    """Return the whole elements of a cell library, those of the package first.

    Args:
        library: The beginning of a library's name, such as `asap7`, or of the names of the package's profiles for it,
            such as `nangate45`; or a Liberty file.
        named: Further profiles: files, or names of the package.

    Raises:
        InputError: No element of the library is known, a named one is not whole or floating point, or there is no
            8-bit one.
        LibertyError: The library is a file without a flip-flop.
    """
    given = [find_profile(name) for name in named]
    for profile in given:
        if is_floating(profile):
            raise InputError(f"element {profile.name} must multiply integers, and is a floating-point element")
        if not is_whole(profile):
            raise InputError(
                f"element {profile.name} must be a whole one, with the registers of its partial sum; characterize a "
                "MAC whose name ends in -dot or -cs4"
            )
    known = [read_profile(file) for file in (*shipped_profiles().values(), *shipped_dot_products().values())]
    whole = [profile for profile in known if is_whole(profile)]
    if Path(library).is_file():
        name = _checked_name(Path(library))
        whole = [profile for profile in whole if profile.library == name]
    else:
        if not any(_is_of(profile, library) for profile in (*whole, *given)):
            names = sorted({name for profile in (*whole, *given) for name in _names(profile)})
            raise InputError(
                f"the library must be a Liberty file or the beginning of one of {', '.join(names)}, not {library!r:.80}"
            )
        whole = [profile for profile in whole if _is_of(profile, library)]
    found = [*whole, *(profile for profile in given if profile.name not in {each.name for each in whole})]
    if not any(element_of(profile).bits == 8 for profile in found):
        raise InputError(
            f"the elements of {library} must include a whole 8-bit one, whose clock the machine's base clock stands "
            f"for; make it with `haloquant characterize --mac {PLAIN_ELEMENT} -l LIBRARY --search area-delay --out "
            "FILE` and name it with --element"
        )
    return found


def _checked_name(file: Path) -> str:
    """Return the name of a library that has a flip-flop."""
    library = read_library(file)
    if not has_flip_flop(library):
        raise LibertyError(
            f"{file} must have a flip-flop, because every element has registers, and has none; add the library's "
            "sequential cells to the file"
        )
    return library.name


def _is_of(profile: MacProfile, library: str) -> bool:
    return any(name.startswith(library) for name in _names(profile))


def _names(profile: MacProfile) -> tuple[str, str]:
    """The library's own name, and the first part of the profile's, which is a short name in the package's profiles."""
    return profile.library, profile.name.partition("-")[0]
