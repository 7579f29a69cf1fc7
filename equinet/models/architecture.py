"""What an architecture is to the rest of the package: checked hyper-parameters that build a module of atom energies."""

from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn


class AtomicOutput(NamedTuple):
    """What a model computes; forces, virial and stress follow from it in :mod:`equinet.models.potential`."""

    energies: Tensor  # [M, N] dimensionless; M members of a committee, 1 for a single model
    features: Tensor  # [N, F] what the last linear map reads


class Architecture(Protocol):
    """Hyper-parameters: a frozen dataclass that checks itself, named in the table of :mod:`equinet.models`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def cutoff(self) -> float:
        """Neighbours are atoms nearer than this, Angstrom."""

    @property
    def reach(self) -> float:
        """Atoms farther away do not change an atom's energy, Angstrom."""

    @property
    def modals(self) -> list[str]:
        """Names of the levels of theory, where it knows several; else empty."""

    @property
    def mirror_symmetric(self) -> bool:
        """Whether mirror images have the same energy."""

    def build(self, num_species: int, dtype: torch.dtype) -> nn.Module:
        """Make the module: (vectors [E, 3], species [N], topology, modal [N] or None) -> AtomicOutput."""

    def least_weights(self, num_species: int) -> int:
        """Return a lower bound on the number of weights, without building anything: what a model file must hold."""
