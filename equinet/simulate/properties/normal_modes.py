"""Normal modes of a molecule: harmonic frequencies from second derivatives, translations and rotations taken out."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from equinet.errors import DataWarning, InputError
from equinet.simulate.properties.phonons.force_constants import forces_of, hessian
from equinet.simulate.properties.phonons.report import ELEMENT_COLORS, INVERSE_CM_PER_THZ, RED
from equinet.simulate.properties.phonons.result import IMAGINARY_THZ, Method, check_displacement
from equinet.simulate.properties.report import write_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_THZ = units.s / (2 * np.pi) * 1e-12  # of the root of eV/Angstrom^2/amu
_EV_PER_THZ = 2e12 * np.pi * units._hbar * units.J
_LINEAR = 1e-4  # smallest moment of inertia of a molecule that is not linear, in units of the largest


@dataclass(frozen=True)
class NormalModes:
    """Harmonic vibrations of a molecule; imaginary frequencies are negative.

    Attributes:
        formula: of the molecule.
        linear: whether it has five rigid motions instead of six.
        method: of the second derivatives.
        frequencies_inverse_cm: [M] ascending, M = 3N - 6 (5).
        frequencies_thz: [M].
        displacements: [M, N, 3] of the atoms, without unit; each mode has length 1.
        zero_point_energy_ev: of the real modes.
        imaginary_inverse_cm: those below -0.1 THz.
        rigid_inverse_cm: [6 or 5] what should be zero: frequencies of translations and rotations, before they are
            taken out.
        largest_difference_inverse_cm: from finite displacements, any mode; with the method hessian.
    """

    formula: str
    linear: bool
    method: Method
    frequencies_inverse_cm: Array
    frequencies_thz: Array
    displacements: Array
    zero_point_energy_ev: float
    imaginary_inverse_cm: Array
    rigid_inverse_cm: Array
    largest_difference_inverse_cm: float | None


def normal_modes(
    atoms: Atoms, calculator: Any, method: Method = "hessian", displacement_angstrom: float = 0.01
) -> NormalModes:
    """Normal modes of a molecule at a stationary point.

    Args:
        atoms: no periodic direction, two atoms at least. Its constraints are left aside.
        calculator: any ASE calculator for displacements, equinet's for the analytic Hessian; in float64.
        method: the Hessian is compared with displacements.
        displacement_angstrom: of each coordinate, both ways.

    Raises:
        InputError: a periodic direction, a single atom; a displacement that makes no sense; a calculator without
            Hessian; what it says of a structure.
        DataWarning: (warned) modes are imaginary.
    """
    if atoms.pbc.any() or len(atoms) < 2:
        raise InputError("normal modes are of molecules: no periodic direction, and two atoms at least")
    check_displacement(displacement_angstrom)
    bare = Atoms(atoms.numbers, atoms.positions, masses=atoms.get_masses())
    largest_difference = None
    if method == "hessian":
        values = hessian(bare, calculator).transpose(0, 2, 1, 3).reshape(3 * len(bare), -1)
    else:
        values = _displaced(bare, calculator, displacement_angstrom)
    roots, vectors, rigid = _modes(bare, values)
    if method == "hessian":
        others = _modes(bare, _displaced(bare, calculator, displacement_angstrom))[0]
        largest_difference = float(abs(others - roots).max()) * _THZ * INVERSE_CM_PER_THZ
    thz = roots * _THZ
    imaginary = thz[thz < IMAGINARY_THZ] * INVERSE_CM_PER_THZ
    if len(imaginary):
        listed = ", ".join(f"{value:.0f}" for value in imaginary)
        warnings.warn(
            f"{len(imaginary)} imaginary modes ({listed} cm^-1): one is a transition state, more are neither that nor "
            "a minimum; displace the atoms along one and relax",
            DataWarning,
        )
    return NormalModes(
        formula=bare.get_chemical_formula(),
        linear=len(rigid) == 5,
        method=method,
        frequencies_inverse_cm=thz * INVERSE_CM_PER_THZ,
        frequencies_thz=thz,
        displacements=vectors,
        zero_point_energy_ev=float(thz[thz > 0].sum()) * _EV_PER_THZ / 2,
        imaginary_inverse_cm=imaginary,
        rigid_inverse_cm=rigid * _THZ * INVERSE_CM_PER_THZ,
        largest_difference_inverse_cm=largest_difference,
    )


def _displaced(atoms: Atoms, calculator: Any, distance: float) -> Array:
    """Second derivatives by central differences of forces, [3N, 3N] eV/Angstrom^2, symmetric."""
    moved = []
    for sign in (1, -1):
        for coordinate in range(3 * len(atoms)):
            one = atoms.copy()
            one.positions.reshape(-1)[coordinate] += sign * distance
            moved.append(one)
    forward, backward = np.array(forces_of(moved, calculator)).reshape(2, 3 * len(atoms), -1)
    values = (backward - forward) / (2 * distance)
    return np.array((values + values.T) / 2)


def _modes(atoms: Atoms, values: Array) -> tuple[Array, Array, Array]:
    """Signed roots [M] of the mass-weighted Hessian's eigenvalues, displacements [M, N, 3]; roots of rigid motions."""
    weights = np.repeat(atoms.get_masses(), 3) ** -0.5
    weighted = weights[:, None] * values * weights
    rigid, rest = _rigid_motions(atoms)
    roots, vectors = np.linalg.eigh(rest.T @ weighted @ rest)
    displacements = weights[:, None] * (rest @ vectors)
    displacements /= np.linalg.norm(displacements, axis=0)
    removed = np.linalg.eigvalsh(rigid.T @ weighted @ rigid)
    return _root(roots), displacements.T.reshape(len(roots), -1, 3), _root(removed)


def _rigid_motions(atoms: Atoms) -> tuple[Array, Array]:
    """Orthonormal mass-weighted translations and rotations, [3N, 6 or 5], and what is orthogonal to them."""
    masses = atoms.get_masses()
    arms = atoms.positions - atoms.get_center_of_mass()
    moments, axes = np.linalg.eigh((masses[:, None] * arms).T @ arms)  # extents; a linear molecule has one
    linear = moments[1] < _LINEAR * moments[2]
    about = axes.T[:2] if linear else axes.T  # the long axis is the last
    motions = [np.tile(axis, (len(atoms), 1)) for axis in np.eye(3)] + [np.cross(axis, arms) for axis in about]
    columns = np.array([(motion * np.sqrt(masses)[:, None]).ravel() for motion in motions]).T
    full, _ = np.linalg.qr(columns, mode="complete")
    return full[:, : columns.shape[1]], full[:, columns.shape[1] :]


def _root(values: NDArray[Any]) -> Array:
    return np.array(np.sign(values) * np.sqrt(abs(values)))


def write_normal_modes(
    folder: Path, atoms: Atoms, found: NormalModes, settings: Mapping[str, Any], title: str
) -> list[Path]:
    """Write ``normal_modes.json`` and ``normal_modes.png``; the paths.

    Raises:
        InputError: a file cannot be written.
    """
    draw = {"normal_modes": lambda: normal_modes_figure(atoms, found, title)}
    return write_report(folder, "normal_modes", found, settings, draw)


def normal_modes_figure(atoms: Atoms, found: NormalModes, title: str = "") -> "Figure":
    """A stick at each frequency, divided by what share of the kinetic energy is each element's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots()
    kinetic = (found.displacements**2).sum(axis=2) * atoms.get_masses()  # [M, N]
    kinetic /= kinetic.sum(axis=1, keepdims=True)
    bottom = np.zeros(len(kinetic))
    elements = np.array(atoms.get_chemical_symbols())
    for n, element in enumerate(dict.fromkeys(elements.tolist())):
        top = bottom + kinetic[:, elements == element].sum(axis=1)
        axes.vlines(
            found.frequencies_inverse_cm,
            bottom,
            top,
            color=ELEMENT_COLORS[n % len(ELEMENT_COLORS)],
            linewidth=2.0,
            label=element,
        )
        bottom = top
    if len(found.imaginary_inverse_cm):
        left = min(axes.get_xlim()[0], 1.1 * found.imaginary_inverse_cm[0])
        axes.axvspan(left, 0, color=RED, alpha=0.12, linewidth=0)
        axes.set_xlim(left=left)
        axes.annotate("imaginary", (found.imaginary_inverse_cm[0], 1.02), color=RED, fontsize=8)
    else:
        axes.set_xlim(left=0.0)
    axes.set(ylim=(0, 1.12), xlabel="frequency, cm$^{-1}$", ylabel="share of kinetic energy")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=6, loc="lower left", bbox_to_anchor=(0.0, 1.0), handlelength=1.0)
    return figure
