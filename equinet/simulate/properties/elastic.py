"""The elastic tensor of a crystal, from stresses under small strains.

C_ij = dS_i / deta_j with Green-Lagrange strain eta and the second Piola-Kirchhoff stress S = J F^-1 sigma F^-T: the
second derivative of the energy by eta over the volume (Wallace, Thermodynamics of Crystals, 1972). It is symmetric
whatever stress is left, so that its asymmetry measures the error; without stress it is what engineering strain gives.
Voigt's order is xx yy zz yz xz xy, shear strains are twice the tensor's; axes are those of the cell given.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_strain, voigt_6_to_full_3x3_stress

from equinet.errors import DataWarning, InputError
from equinet.simulate.properties.moduli import Moduli, moduli
from equinet.simulate.properties.settle import check_relaxation, settled
from equinet.simulate.properties.start import check_crystal
from equinet.units import EV_PER_A3_IN_GPA

VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")

LARGEST_NONLINEARITY = 0.02
"""Change of a modulus with the amplitude, over the largest: above it strains are not small, or forces not smooth."""

LARGEST_ASYMMETRY = 0.01
"""|C - C^T|, over the largest: above it the stress is not the energy's derivative, or the ions are not relaxed."""


@dataclass(frozen=True)
class ElasticSettings:
    """How the tensor is measured.

    Attributes:
        amplitudes: of the strains (Voigt's), each with both signs.
        relax_ions: whether atoms follow in a second set of strained cells.
        fmax: of these relaxations, eV/Angstrom: a force of 1e-4 left behind is worth about 0.1 GPa.
        max_steps: of each.
    """

    amplitudes: tuple[float, ...] = (0.001, 0.0025, 0.005)
    relax_ions: bool = True
    fmax: float = 1e-5
    max_steps: int = 500

    def check(self) -> None:
        """Say what makes no sense.

        Raises:
            InputError: as said.
        """
        if len(set(self.amplitudes)) < 2:
            raise InputError("one amplitude of strain shows no range where it is linear; give two or more")
        if not all(1e-6 <= each <= 0.05 for each in self.amplitudes):
            raise InputError(f"amplitudes {', '.join(map(str, self.amplitudes))} make no sense; give 1e-6 to 0.05 each")
        check_relaxation(self.fmax, self.max_steps)


@dataclass(frozen=True)
class ElasticTensor:
    """Stiffness with what it was fitted to.

    Attributes:
        stiffness_gpa: [6, 6], symmetrised.
        asymmetry_gpa: largest |C_ij - C_ji| before.
        nonlinearity: how far any modulus, measured at one amplitude alone, is from the tensor, over its largest entry.
        strains: [A] ascending, both signs; the same for each of the six.
        stresses_gpa: [6, A, 6]: strained component, strain, stress (second Piola-Kirchhoff).
        moduli: what follows.
    """

    stiffness_gpa: np.ndarray
    asymmetry_gpa: float
    nonlinearity: float
    strains: np.ndarray
    stresses_gpa: np.ndarray
    moduli: Moduli


@dataclass(frozen=True)
class ElasticResult:
    """The tensors of a crystal.

    Attributes:
        relaxed_ion: atoms follow the strain to zero force: what an experiment sees. None if not asked for.
        clamped_ion: atoms move with the cell alone.
        internal_relaxation_gpa: largest difference of the two; None without the first.
        volume_a3: of the cell.
        voigt_order: of rows and columns.
        axes: what x, y and z are.
        definition: of strain and stress.
    """

    relaxed_ion: ElasticTensor | None
    clamped_ion: ElasticTensor
    internal_relaxation_gpa: float | None
    volume_a3: float
    voigt_order: tuple[str, ...] = VOIGT
    axes: str = "Cartesian axes of the cell given"
    definition: str = "second Piola-Kirchhoff stress by Green-Lagrange strain; shear strains are twice the tensor's"

    @property
    def best(self) -> ElasticTensor:
        """Relaxed-ion where it is there."""
        return self.relaxed_ion or self.clamped_ion


def elastic_tensor(
    atoms: Atoms,
    calculator: Any,
    settings: ElasticSettings | None = None,
    on_step: Callable[[int], None] | None = None,
) -> ElasticResult:
    """Strain a crystal in six ways, a little to both sides, and fit its stresses.

    Args:
        atoms: a crystal without forces and stress; not changed. See ``starting_structure``.
        calculator: any ASE calculator with stress.
        settings: None: the defaults.
        on_step: called with the number of strained cells done, of ``strained_cells(settings)``.

    Raises:
        InputError: settings that make no sense; a relaxation that does not end.

    Warns:
        DataWarning: strains beyond the linear range, an asymmetric tensor, an unstable crystal.
    """
    settings = settings or ElasticSettings()
    settings.check()
    check_crystal(atoms)
    count = 0

    def done() -> None:
        nonlocal count
        count += 1
        if on_step is not None:
            on_step(count)

    start = atoms
    if settings.relax_ions:
        start = settled(atoms, calculator, settings.fmax, settings.max_steps, "the structure without strain")
    clamped = _tensor(start, calculator, settings, False, done)
    relaxed = _tensor(start, calculator, settings, True, done) if settings.relax_ions else None
    difference = None if relaxed is None else float(abs(relaxed.stiffness_gpa - clamped.stiffness_gpa).max())
    result = ElasticResult(relaxed, clamped, difference, float(atoms.get_volume()))
    _warn(result.best)
    return result


def strained_cells(settings: ElasticSettings) -> int:
    """How many cells are computed, relaxed ones and others."""
    return 12 * len(set(settings.amplitudes)) * (2 if settings.relax_ions else 1)


def green_lagrange(strain: np.ndarray) -> np.ndarray:
    """The symmetric deformation F with (F^T F - 1) / 2 = strain, for a strain of [6]."""
    full = voigt_6_to_full_3x3_strain(strain) - np.eye(3)  # ASE's is the deformation
    values, vectors = np.linalg.eigh(np.eye(3) + 2 * full)
    return (vectors * np.sqrt(values)) @ vectors.T


def piola_kirchhoff(stress: np.ndarray, deformation: np.ndarray) -> np.ndarray:
    """Second Piola-Kirchhoff stress [6] of a Cauchy stress [6] in the deformed cell."""
    inverse = np.linalg.inv(deformation)
    full = np.linalg.det(deformation) * inverse @ voigt_6_to_full_3x3_stress(stress) @ inverse.T
    return full_3x3_to_voigt_6_stress(full)


def _tensor(
    atoms: Atoms, calculator: Any, settings: ElasticSettings, relax_ions: bool, done: Callable[[], None]
) -> ElasticTensor:
    amplitudes = sorted(set(settings.amplitudes))
    strains = np.array([-each for each in reversed(amplitudes)] + amplitudes)
    stresses = np.zeros((6, len(strains), 6))
    for component in range(6):
        slope = np.zeros((len(atoms), 3))  # of the relaxed atoms by the strain, as a first guess for the next one
        for index in np.argsort(abs(strains), kind="stable"):
            strain = float(strains[index])
            deformation = green_lagrange(strain * np.eye(6)[component])
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
            affine = strained.positions.copy()
            if relax_ions:
                strained.positions += slope * strain
                what = f"the structure under strain {strain:+g} of {VOIGT[component]}"
                strained = settled(strained, calculator, settings.fmax, settings.max_steps, what)
                slope = (strained.positions - affine) / strain
            stress = calculator.get_property("stress", strained)
            stresses[component, index] = piola_kirchhoff(stress, deformation) * EV_PER_A3_IN_GPA
            done()
    stiffness, nonlinearity = fit_stiffness(strains, stresses)
    symmetric = (stiffness + stiffness.T) / 2
    asymmetry = float(abs(stiffness - stiffness.T).max())
    return ElasticTensor(symmetric, asymmetry, nonlinearity, strains, stresses, moduli(symmetric))


def fit_stiffness(strains: np.ndarray, stresses: np.ndarray) -> tuple[np.ndarray, float]:
    """Central differences, with the cubic term of the stress taken out.

    Args:
        strains: [A] ascending, both signs of each amplitude.
        stresses: [6, A, 6] GPa: strained component, strain, stress.

    Returns:
        [6, 6] GPa, as measured: rows are stresses; and the nonlinearity of :class:`ElasticTensor`.
    """
    half = len(strains) // 2
    positive = strains[half:]
    odd = (stresses[:, half:] - stresses[:, :half][:, ::-1]) / 2  # [6, A / 2, 6]
    terms = np.stack([positive, positive**3], axis=1)
    scale = terms.max(axis=0)
    columns = np.moveaxis(odd, 1, 0).reshape(half, 36)
    linear = np.linalg.lstsq(terms / scale, columns, rcond=None)[0][0] / scale[0]
    secants = columns / positive[:, None]
    nonlinearity = float(abs(secants - linear).max() / abs(linear).max())
    return linear.reshape(6, 6).T, nonlinearity


def _warn(tensor: ElasticTensor) -> None:
    largest = float(abs(tensor.stiffness_gpa).max())
    if tensor.nonlinearity > LARGEST_NONLINEARITY:
        warnings.warn(
            f"moduli change by {100 * tensor.nonlinearity:.1f} % with the amplitude of the strain: it leaves the "
            "linear range, or forces are not smooth; give smaller --amplitudes and look at the figure",
            DataWarning,
        )
    if tensor.asymmetry_gpa > LARGEST_ASYMMETRY * largest:
        warnings.warn(
            f"the elastic tensor is asymmetric by {tensor.asymmetry_gpa:.2g} GPa: the stress is not the derivative of "
            "the energy (equinet verify), or --fmax is too high",
            DataWarning,
        )
    if not tensor.moduli.stable:
        warnings.warn(
            f"the crystal is elastically unstable: the lowest Kelvin modulus is "
            f"{tensor.moduli.kelvin_moduli_gpa[0]:.3g} GPa; Reuss's and Hill's averages mean nothing",
            DataWarning,
        )
