"""What an architecture is to the rest of the package: hyper-parameters in a dataclass, and a module of atom
energies."""

from typing import NamedTuple

from torch import Tensor


class AtomicOutput(NamedTuple):
    """What a model computes; forces, virial and stress follow from it in :mod:`equinet.models.potential`."""

    energies: Tensor  # [M, N] dimensionless; M members of a committee, 1 for a single model
    features: Tensor  # [N, F] what the last linear map reads
