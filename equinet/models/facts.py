"""What a model is, in a few plain values: for reports and cards."""

from dataclasses import dataclass
from pathlib import Path

from equinet.elements import SYMBOLS
from equinet.files import sha256
from equinet.models.compiled import CompiledNequIPArchitecture
from equinet.models.nequip import NequIPArchitecture
from equinet.models.potential import Potential


@dataclass(frozen=True)
class ModelFacts:
    """A model file, described.

    Attributes:
        file: its path.
        sha256: of the file.
        architecture: for people to read.
        parameters: how many numbers it holds, tables of a compiled model among them.
        cutoff: Angstrom.
        layers: rounds of message passing.
        dtype: "float32" or "float64".
        species: symbols of the elements it knows, by atomic number.
        modal: the level of theory used, where it has a name; else "".
    """

    file: str
    sha256: str
    architecture: str
    parameters: int
    cutoff: float
    layers: int
    dtype: str
    species: tuple[str, ...]
    modal: str = ""

    @property
    def reach(self) -> float:
        """How far information travels, Angstrom: atoms farther apart than that do not know of each other."""
        return self.layers * self.cutoff


def describe(potential: Potential, path: Path) -> ModelFacts:
    """Describe a potential that was loaded from a file."""
    architecture = potential.architecture
    source = architecture.source if isinstance(architecture, CompiledNequIPArchitecture) else architecture
    assert isinstance(source, NequIPArchitecture)
    compiled = ", compiled" if isinstance(architecture, CompiledNequIPArchitecture) else ""
    parities = {"full": "O(3), both parities", "natural": "O(3), natural parity", "none": "SO(3), no parity"}
    return ModelFacts(
        file=str(path),
        sha256=sha256(path),
        architecture=f"NequIP{compiled}, l_max {source.l_max}, channels {_channels(source)}, {parities[source.parity]}"
        + (", ZBL repulsion" if potential.zbl is not None else ""),
        parameters=sum(parameter.numel() for parameter in potential.parameters()),
        cutoff=potential.cutoff,
        layers=source.layers,
        dtype=str(potential.dtype).removeprefix("torch."),
        species=tuple(SYMBOLS[number] for number in potential.species),
        modal=str(potential.provenance.get("modal") or ""),
    )


def _channels(architecture: NequIPArchitecture) -> str:
    """One number, or one for each l."""
    per_l = architecture.channels_per_l
    return str(per_l[0]) if len(set(per_l)) == 1 else "/".join(map(str, per_l))
