"""What a phonon calculation is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equinet.errors import InputError

Array = NDArray[np.float64]
Method = Literal["displacements", "hessian"]

IMAGINARY_THZ = -0.1
"""Modes below are called imaginary; between it and zero they may be noise of the acoustic branches near Gamma."""
CONVERGED_THZ = 0.05
"""Largest change of any band that ends the growth of the supercell."""


@dataclass(frozen=True)
class PhononSettings:
    """How force constants are computed.

    Attributes:
        method: finite displacements with any calculator; or the analytic Hessian, of equinet's own, which is then
            compared with finite displacements in the same supercell.
        displacement_angstrom: of one atom at a time, both ways where symmetry does not make them equal.
        supercell: repetitions of the given cell; None grows it until the bands stay.
        max_atoms: of a supercell that is grown.
        path: special points as ASE names them, such as "GXWKGL"; None for the lattice's own path.
        mesh_length_angstrom: as many q points of the density of states along each direction as there are cells in
            this length; None for 60 of a crystal, 200 of a slab, 1000 of a wire.
        symmetry_tolerance_angstrom: within which positions are equivalent.

    Raises:
        InputError: what makes no sense.
    """

    method: Method = "displacements"
    displacement_angstrom: float = 0.01
    supercell: tuple[int, int, int] | None = None
    max_atoms: int = 1000
    path: str | None = None
    mesh_length_angstrom: float | None = None
    symmetry_tolerance_angstrom: float = 1e-5

    def __post_init__(self) -> None:
        if self.method not in ("displacements", "hessian"):
            raise InputError(f"unknown method {self.method!r}; there are displacements and hessian")
        check_displacement(self.displacement_angstrom)
        if not 0 < self.symmetry_tolerance_angstrom <= 0.1:
            raise InputError(f"a tolerance of {self.symmetry_tolerance_angstrom:g} A makes no sense; 1e-5 is usual")
        if self.supercell is not None and min(self.supercell) < 1:
            raise InputError(f"a supercell of {' x '.join(map(str, self.supercell))} makes no sense; give 1 or more")


def check_displacement(angstrom: float) -> None:
    """Check that a displacement is small and not zero.

    Raises:
        InputError: it is not.
    """
    if not 0 < angstrom <= 0.2:
        raise InputError(f"a displacement of {angstrom:g} A makes no sense; 0.01 is usual")


@dataclass(frozen=True)
class SupercellStep:
    """A supercell on the way.

    Attributes:
        matrix: [3, 3] rows are its vectors in units of those of the given cell.
        atoms: in it.
        displaced: structures whose forces were computed; 0 with the Hessian.
        band_change_thz: largest change of any band since the supercell before; None for the first.
    """

    matrix: NDArray[np.int64]
    atoms: int
    displaced: int
    band_change_thz: float | None


@dataclass(frozen=True)
class Bands:
    """Frequencies along a path; imaginary ones are negative.

    Attributes:
        q_points: [Q, 3] in reciprocal vectors of the primitive cell.
        distance_per_angstrom: [Q] along the path, with the factor 2 pi; two points share one where the path jumps.
        label_positions_per_angstrom: [L] of the special points.
        labels: [L] of them, "Γ" and as ASE names them; "K|U" where the path jumps.
        frequencies_thz: [Q, B] ascending at each point.
    """

    q_points: Array
    distance_per_angstrom: Array
    label_positions_per_angstrom: Array
    labels: tuple[str, ...]
    frequencies_thz: Array


@dataclass(frozen=True)
class DensityOfStates:
    """Modes of a primitive cell by frequency (tetrahedron method); the total integrates to 3 modes an atom.

    Attributes:
        mesh: q points in each direction.
        frequency_thz: [F].
        total_per_thz: [F].
        by_element_per_thz: [F] each, of the elements; their sum is the total.
    """

    mesh: tuple[int, int, int]
    frequency_thz: Array
    total_per_thz: Array
    by_element_per_thz: Mapping[str, Array]


@dataclass(frozen=True)
class Thermal:
    """Harmonic thermodynamics, at the volume of the cell.

    Attributes:
        zero_point_energy_ev_per_atom: of all modes.
        temperature_k: [T].
        free_energy_ev_per_atom: [T] of the vibrations, the zero-point energy included.
        entropy_j_per_k_mol: [T] for a mole of atoms.
        heat_capacity_j_per_k_mol: [T] at constant volume, for a mole of atoms.
    """

    zero_point_energy_ev_per_atom: float
    temperature_k: Array
    free_energy_ev_per_atom: Array
    entropy_j_per_k_mol: Array
    heat_capacity_j_per_k_mol: Array


@dataclass(frozen=True)
class ImaginaryMode:
    """The lowest mode of a piece of the path, or of the mesh, where it is imaginary.

    Attributes:
        q_point: [3] in reciprocal vectors of the primitive cell.
        where: "X", "Γ-X" or "mesh".
        frequency_thz: negative.
    """

    q_point: Array
    where: str
    frequency_thz: float


@dataclass(frozen=True)
class AcousticSumRule:
    """How far the force constants are from translational invariance, before it is imposed.

    Attributes:
        residual_ev_per_angstrom2: largest component of the force on any atom when the others move together.
        gamma_thz: [3] what should be zero at Gamma: the frequencies of the acoustic modes.
    """

    residual_ev_per_angstrom2: float
    gamma_thz: Array


@dataclass(frozen=True)
class HessianComparison:
    """Analytic Hessian against finite displacements in the same supercell, both after symmetrising.

    Attributes:
        largest_frequency_difference_thz: along the path.
        largest_force_constant_difference_ev_per_angstrom2: of any component.
    """

    largest_frequency_difference_thz: float
    largest_force_constant_difference_ev_per_angstrom2: float


@dataclass(frozen=True)
class Phonons:
    """Phonons of a crystal, a slab or a wire.

    Attributes:
        formula: of the primitive cell.
        space_group: as spglib finds it; of a slab or wire that of the repeated, padded cell.
        cell_angstrom: [3, 3] vectors of the primitive cell.
        scaled_positions: [A, 3] in it.
        elements: [A].
        settings: as asked.
        supercells: those tried; the results are of the last.
        converged: whether the bands changed by less than CONVERGED_THZ at last; None for a chosen supercell.
        acoustic_sum_rule: of the last supercell.
        gamma_thz: [B] frequencies at Gamma, after symmetrising.
        bands: along the path.
        density: of states.
        thermal: None where modes are imaginary: there is no harmonic free energy.
        imaginary: modes below IMAGINARY_THZ, lowest first.
        hessian_comparison: with the method hessian.
        phonopy: the Phonopy object, to go on with.
    """

    formula: str
    space_group: str
    cell_angstrom: Array
    scaled_positions: Array
    elements: tuple[str, ...]
    settings: PhononSettings
    supercells: tuple[SupercellStep, ...]
    converged: bool | None
    acoustic_sum_rule: AcousticSumRule
    gamma_thz: Array
    bands: Bands
    density: DensityOfStates
    thermal: Thermal | None
    imaginary: tuple[ImaginaryMode, ...]
    hessian_comparison: HessianComparison | None
    phonopy: Any = field(repr=False, compare=False)
