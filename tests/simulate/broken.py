"""Calculators that break one law each, and the sound ones they are made from."""

from collections.abc import Callable

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones


def lennard_jones(kind: type[LennardJones] = LennardJones) -> LennardJones:
    """Smooth at the cutoff, sized for silicon's covalent radius."""
    return kind(sigma=2.1, epsilon=0.5, rc=6.0, ro=3.0, smooth=True)


class ScaledForces(LennardJones):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"] = 1.01 * self.results["forces"]


class NonConservative(LennardJones):
    """Covariant forces without net force that belong to no energy."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        forces = self.results["forces"]
        extra = 0.01 * forces * np.sum(forces**2, axis=1, keepdims=True)
        self.results["forces"] = forces + extra - extra.mean(axis=0)


class WrongStressSign(LennardJones):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["stress"] = -self.results["stress"]


class StressForAll(LennardJones):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results.setdefault("stress", np.zeros(6))


class HalfVirial(LennardJones):
    """Offers a virial everywhere, and only half of it."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["virial"] = 0.5 * self.atoms.positions.T @ self.results["forces"]


class Raising(LennardJones):
    def calculate(self, *args, **kwargs):
        raise RuntimeError("out of order")


class MoleculeEnergy(Calculator):
    """An energy of positions [N, 3], differentiated by torch; for molecules."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, energy: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.energy_function = energy

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        positions = torch.tensor(self.atoms.positions, requires_grad=True)
        energy = self.energy_function(positions)
        (gradient,) = torch.autograd.grad(energy, positions)
        self.results = {"energy": energy.item(), "forces": -gradient.numpy()}


def _distances(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors [N, N, 3] and distances [N, N] of all pairs; 1e9 from an atom to itself."""
    vectors = x[None] - x[:, None]
    own = torch.eye(len(x), dtype=torch.bool)
    return vectors, torch.where(own, 1e9, (vectors + own[..., None]).norm(dim=-1))


def pair_energy(x: torch.Tensor) -> torch.Tensor:
    _, d = _distances(x)
    return 0.5 * (((2.4 / d) ** 12 - (2.4 / d) ** 6) * 2.0).sum()


def chiral_energy(x: torch.Tensor) -> torch.Tensor:
    """Knows left from right: triple products of three weighted sums of bonds at each atom."""
    vectors, d = _distances(x)
    a, b, c = ((vectors * torch.exp(-k * d)[..., None]).sum(dim=1) for k in (0.3, 0.6, 0.9))
    return pair_energy(x) + 5.0 * (a * torch.linalg.cross(b, c)).sum()


def anisotropic_energy(x: torch.Tensor) -> torch.Tensor:
    return pair_energy(x * torch.tensor([1.01, 1.0, 1.0], dtype=x.dtype))


def index_dependent_energy(x: torch.Tensor) -> torch.Tensor:
    _, d = _distances(x)
    weights = 1 + 0.01 * torch.arange(len(x), dtype=x.dtype)
    return (weights * torch.exp(-d)).sum() + pair_energy(x)


def field_energy(x: torch.Tensor) -> torch.Tensor:
    return pair_energy(x) + 0.01 * x[:, 2].sum()


def superextensive_energy(x: torch.Tensor) -> torch.Tensor:
    return pair_energy(x) + 0.001 * len(x) ** 2
