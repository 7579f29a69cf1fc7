"""What a few formats leave open and the user must say."""

from dataclasses import dataclass
from typing import Literal

Units = Literal["atomic", "metal"]
"""Hartree and Bohr, or eV and Angstrom."""


NAME_ELEMENTS = (
    "name those of types 0, 1, ... in 'equinet data build FILE --elements Si C ... -o STORE', and use the store"
)
"""For messages: other verbs than ``data build`` have no such option."""


@dataclass(frozen=True)
class FormatOptions:
    """What files of some formats do not say themselves.

    Attributes:
        elements: symbols of the atom types 0, 1, ... of MTP files, and of DeePMD folders without type_map.raw.
        n2p2_units: what n2p2 files are in: "atomic" (Hartree, Bohr; their custom) or "metal" (eV, Angstrom).
    """

    elements: tuple[str, ...] = ()
    n2p2_units: Units = "atomic"
