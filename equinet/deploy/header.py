"""What every exported artefact says of itself: one JSON text, embedded in the file."""

import dataclasses
import json
from typing import Any

import torch

from equinet import __version__
from equinet.errors import InputError
from equinet.lineage import licence
from equinet.models import Potential
from equinet.models.model_file import UNITS

FORMAT_VERSION = 1
"""Raised when a reader of an older version could misread a newer artefact."""

HEADER = "equinet.json"
"""Name of the header within an artefact."""

REFERENCES = "equinet-references.json"
"""Name of the structures, and what the model said of them, within an artefact."""


@dataclasses.dataclass(frozen=True)
class Header:
    """An artefact's header.

    Attributes:
        kind: "torchscript", "aoti" or "lammps".
        operators: "torch", plain torch, or "library", libequinet_ops.
        species: atomic numbers it knows, ascending.
        cutoff: neighbours are nearer than this, Angstrom.
        reach: atoms farther away than this do not change an atom's energy: layers times cutoff, Angstrom.
        dtype: of weights and features, "float32" or "float64"; geometry and energies are float64.
        device: kind of device it was made for, "cpu" or "cuda".
        modals: levels of theory, where it knows several; their order is that of the argument ``modal``.
        processor: of the machine that made it, as torch calls it (DEFAULT, AVX2, AVX512); of matter to compiled code.
        torch_version: that made it.
        equinet_version: that made it.
        units: of what it takes and gives.
        provenance: of the model: where it comes from, its training, as in its file; its licence, or its
            parent's where it was fine-tuned and states none of its own.
        format_version: of this header.
    """

    kind: str
    operators: str
    species: list[int]
    cutoff: float
    reach: float
    dtype: str
    device: str
    modals: list[str]
    provenance: dict[str, Any]
    processor: str = torch.backends.cpu.get_cpu_capability()
    torch_version: str = torch.__version__
    equinet_version: str = __version__
    units: dict[str, str] = dataclasses.field(default_factory=lambda: dict(UNITS))
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The text within the file."""
        return json.dumps(dataclasses.asdict(self), indent=1)


def header_of(potential: Potential, kind: str, operators: str) -> Header:
    """The header of an artefact made from a potential."""
    stated = licence(potential.provenance)
    return Header(
        kind=kind,
        operators=operators,
        species=potential.species,
        cutoff=potential.cutoff,
        reach=potential.architecture.reach,
        dtype=str(potential.dtype).removeprefix("torch."),
        device=potential.scale.device.type,
        modals=potential.modals,
        provenance=potential.provenance | ({"licence": stated} if stated else {}),
    )


def parse_header(text: str, path: object) -> Header:
    """Read a header.

    Raises:
        InputError: damaged, or of a newer format.
    """
    try:
        values = json.loads(text)
        version = int(values["format_version"])
        if version <= FORMAT_VERSION:
            return Header(**values)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} has a damaged equinet header; export it again") from None
    raise InputError(f"{path} has format version {version}, newer than this equinet reads ({FORMAT_VERSION}); upgrade")
