"""Are labels in eV and Angstrom? Where a file says what its keys are in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from equinet.data.keys import Label
from equinet.errors import InputError

OURS: dict[Label, str] = {"energy": "ev", "forces": "ev/a", "stress": "ev/a^3", "virial": "ev"}
UNSAID = ("", "1", "1.0")
"""How SchNetPack says that nothing is to be converted: ASE's units."""


@dataclass(frozen=True)
class FileUnits:
    """What a file is in.

    Attributes:
        text: for people, such as "Hartree, Bohr; converted to eV, Angstrom".
        of_keys: what the file itself says of its keys, as it is written there.
    """

    text: str = "eV, Angstrom"
    of_keys: Mapping[str, str] = field(default_factory=dict)


def normalized_unit(unit: str) -> str:
    """A unit in one of its spellings: "eV / Ang**3", "eV/Angstrom^3" and "eV/A/A/A" are all "ev/a^3"."""
    text = unit.lower().replace(" ", "")
    for spelling, ours in (("angstrom", "a"), ("ang", "a"), ("å", "a"), ("**", "^"), ("/a/a/a", "/a^3")):
        text = text.replace(spelling, ours)
    return text


def refuse_foreign_units(chosen: Mapping[Label, tuple[str, ...]], units: Mapping[str, str], path: str) -> None:
    """Refuse a label whose unit, as the file says it, is not ours.

    Args:
        chosen: the keys that each label is read from.
        units: of keys; those that are not there are ours.
        path: the file, for messages.

    Raises:
        InputError: with the key and its unit.
    """
    for label, keys in chosen.items():
        for key in keys:
            if normalized_unit(units.get(key, "")) not in (*UNSAID, OURS[label]):
                raise InputError(
                    f"{path}: its metadata say {key} in {units[key]}, which is read as {label}; convert to eV and "
                    "Angstrom first"
                )
