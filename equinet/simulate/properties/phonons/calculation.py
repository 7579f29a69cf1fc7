"""Phonons of a crystal, slab or wire, with phonopy (Togo, J. Phys. Soc. Jpn. 92, 012001 (2023))."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.cell import Cell
from numpy.typing import NDArray

from equinet.errors import DataWarning, InputError
from equinet.simulate.properties.phonons.force_constants import from_displacements, from_hessian, sum_rule_residual
from equinet.simulate.properties.phonons.result import (
    CONVERGED_THZ,
    IMAGINARY_THZ,
    AcousticSumRule,
    Array,
    Bands,
    DensityOfStates,
    HessianComparison,
    ImaginaryMode,
    Phonons,
    PhononSettings,
    SupercellStep,
    Thermal,
)
from equinet.simulate.properties.phonons.supercell import (
    chosen_supercell,
    growing_supercells,
    mesh_of,
    phonopy_of,
    require_phonopy,
    standing,
)

PATH_POINTS = 400
"""Along the whole path."""
MESH_LENGTHS = {3: 60.0, 2: 200.0, 1: 1000.0}
"""Angstrom, by the number of periodic directions: the density of states' mesh length unless it is set."""
DENSITY_POINTS = 400
"""From the lowest frequency to the highest."""
TEMPERATURES = np.arange(0.0, 1001.0, 10.0)
_SAME = 0.01  # THz, of modes of the mesh and of the path that count as one
_ACOUSTIC = 1e-3  # THz; what is at Gamma itself has no free energy


def phonons(
    atoms: Atoms,
    calculator: Any,
    settings: PhononSettings | None = None,
    on_supercell: Callable[[int], None] | None = None,
) -> Phonons:
    """Force constants in a supercell, and the bands, density of states and thermodynamics that they give.

    Without Born charges there is no splitting of longitudinal and transverse optical modes at Gamma: give them to the
    Phonopy object for polar crystals.

    Args:
        atoms: at a minimum, with one periodic direction at least (molecules: ``normal_modes``). Its constraints are
            left aside.
        calculator: any ASE calculator, in float64.
        settings: the defaults where None.
        on_supercell: called with the number of atoms of each supercell before its forces are computed.

    Raises:
        InputError: no periodic direction; settings that do not fit the structure; phonopy is not installed; what the
            calculator says of a structure.
        DataWarning: (warned) the bands still change with the largest supercell; modes are imaginary.
    """
    settings = settings or PhononSettings()
    require_phonopy()
    if not atoms.pbc.any():
        raise InputError("no periodic direction, so no phonons; a molecule has normal modes (normal_modes)")
    start = standing(atoms)
    if settings.supercell is None:
        supercells = growing_supercells(start, settings)
    else:
        supercells = iter([chosen_supercell(atoms, settings.supercell)])
    path: _Path | None = None
    frequencies: Array | None = None
    steps: list[SupercellStep] = []
    for rows in supercells:
        if on_supercell is not None:
            on_supercell(len(start) * round(np.linalg.det(rows)))
        phonon = phonopy_of(start, rows, settings)
        path = path or _Path(phonon.primitive, start.pbc, settings.path)
        sum_rule = _produce(phonon, start, calculator, settings)
        before, frequencies = frequencies, _frequencies(phonon, path.q_points)
        change = None if before is None else float(abs(frequencies - before).max())
        displaced = 0 if phonon.dataset is None else len(phonon.supercells_with_displacements)
        steps.append(SupercellStep(rows, len(phonon.supercell), displaced, change))
        if change is not None and change < CONVERGED_THZ:
            break
    assert path is not None
    assert frequencies is not None  # there is one supercell at least
    converged = None if settings.supercell is not None else change is not None and change < CONVERGED_THZ
    density = _density(phonon, start.pbc, settings.mesh_length_angstrom)
    imaginary = _imaginary(path.imaginary(frequencies), phonon.mesh)
    found = Phonons(
        formula=Atoms(phonon.primitive.symbols).get_chemical_formula(),
        space_group=phonon.symmetry.dataset.international,
        cell_angstrom=phonon.primitive.cell,
        scaled_positions=phonon.primitive.scaled_positions,
        elements=tuple(phonon.primitive.symbols),
        settings=settings,
        supercells=tuple(steps),
        converged=converged,
        acoustic_sum_rule=sum_rule,
        gamma_thz=_frequencies(phonon, np.zeros((1, 3)))[0],
        bands=path.bands(frequencies),
        density=density,
        thermal=None if imaginary else _thermal(phonon),
        imaginary=imaginary,
        hessian_comparison=_compared(phonon, start, rows, calculator, settings, path, frequencies),
        phonopy=phonon,
    )
    _warn(found)
    return found


def _produce(phonon: Any, start: Atoms, calculator: Any, settings: PhononSettings) -> AcousticSumRule:
    """Force constants, symmetrised, in the Phonopy object; how far they were from what symmetry demands."""
    if settings.method == "hessian":
        values = from_hessian(phonon, start.pbc, calculator)
    else:
        values = from_displacements(phonon, start.pbc, calculator, settings.displacement_angstrom)
    gamma = _frequencies(phonon, np.zeros((1, 3)))[0]
    residual = sum_rule_residual(values, phonon)
    phonon.symmetrize_force_constants()
    return AcousticSumRule(residual, np.sort(gamma[np.argsort(abs(gamma))[:3]]))


def _frequencies(phonon: Any, q_points: Array) -> Array:
    """[Q, B] THz, imaginary ones negative."""
    phonon.run_qpoints(q_points)
    return np.array(phonon.qpoints.frequencies)


def _compared(
    phonon: Any,
    start: Atoms,
    rows: NDArray[np.int64],
    calculator: Any,
    settings: PhononSettings,
    path: "_Path",
    frequencies: Array,
) -> HessianComparison | None:
    if settings.method != "hessian":
        return None
    other = phonopy_of(start, rows, settings)
    from_displacements(other, start.pbc, calculator, settings.displacement_angstrom)
    other.symmetrize_force_constants()
    return HessianComparison(
        float(abs(_frequencies(other, path.q_points) - frequencies).max()),
        float(abs(other.force_constants - phonon.force_constants).max()),
    )


class _Path:
    """The path of the bands.

    Args:
        primitive: cell of phonopy.
        pbc: its periodic directions, which come first.
        path: of special points, or None.

    Raises:
        InputError: a path of points that the lattice does not have.
    """

    def __init__(self, primitive: Any, pbc: NDArray[np.bool_], path: str | None) -> None:
        cell = Cell(primitive.cell)
        periodic: list[bool] = pbc.tolist()
        try:
            found = cell.bandpath(path, npoints=PATH_POINTS, pbc=periodic)
        except KeyError as error:
            known = ", ".join(cell.bandpath(npoints=0, pbc=periodic).special_points)
            raise InputError(f"the path {path!r} has the point {error}; those of this lattice are {known}") from None
        self.q_points: Array = found.kpts
        distance, ticks, names = found.get_linear_kpoint_axis()
        self.distance = 2 * np.pi * distance
        self.label_positions = 2 * np.pi * ticks
        self.labels = [name.replace("G", "Γ").replace(",", "|") for name in names]

    def bands(self, frequencies: Array) -> Bands:
        """With the frequencies, [Q, B] THz, of the path's points."""
        positions, labels = [self.label_positions[0]], [self.labels[0]]
        for position, label in zip(self.label_positions[1:], self.labels[1:], strict=True):
            if position == positions[-1]:  # the path jumps
                labels[-1] += f"|{label}"
            else:
                positions.append(position)
                labels.append(label)
        return Bands(self.q_points, self.distance, np.array(positions), tuple(labels), frequencies)

    def imaginary(self, frequencies: Array) -> list[ImaginaryMode]:
        """The lowest mode of each piece of the path where it is imaginary; a point that two pieces share, once."""
        found: dict[tuple[float, ...], ImaginaryMode] = {}
        for n, (start, end) in enumerate(zip(self.label_positions[:-1], self.label_positions[1:], strict=True)):
            inside = np.flatnonzero((self.distance >= start - 1e-9) & (self.distance <= end + 1e-9))
            at = inside[np.argmin(frequencies[inside, 0])]
            if frequencies[at, 0] >= IMAGINARY_THZ or start == end:
                continue
            where = f"{self.labels[n]}-{self.labels[n + 1]}"
            for position, label in ((start, self.labels[n]), (end, self.labels[n + 1])):
                if abs(self.distance[at] - position) < 1e-9:
                    where = label
            q = self.q_points[at]
            found.setdefault(tuple(np.round(q, 6).tolist()), ImaginaryMode(q, where, float(frequencies[at, 0])))
        return list(found.values())


def _density(phonon: Any, pbc: NDArray[np.bool_], length: float | None) -> DensityOfStates:
    """On a mesh that the Phonopy object keeps."""
    mesh = mesh_of(phonon.primitive, pbc, length or MESH_LENGTHS[int(pbc.sum())])
    elements = np.array(phonon.primitive.symbols)
    if len(set(elements)) == 1:  # all modes are its own, and the mesh may be reduced by symmetry
        phonon.run_mesh(mesh, is_gamma_center=True)
        phonon.run_total_dos(freq_pitch=_pitch(phonon))
        frequencies, total = (np.array(phonon.total_dos.frequency_points), np.array(phonon.total_dos.dos))
        by_element = {str(elements[0]): total}
    else:
        phonon.run_mesh(mesh, with_eigenvectors=True, is_mesh_symmetry=False, is_gamma_center=True)
        phonon.run_projected_dos(freq_pitch=_pitch(phonon))
        frequencies, projected = phonon.projected_dos.frequency_points, np.array(phonon.projected_dos.projected_dos)
        by_element = {str(each): projected[elements == each].sum(axis=0) for each in dict.fromkeys(elements)}
    return DensityOfStates(mesh, frequencies, sum(by_element.values(), np.zeros(len(frequencies))), by_element)


def _pitch(phonon: Any) -> float:
    """THz between the frequencies of the density of states."""
    return float(np.ptp(phonon.mesh.frequencies)) / DENSITY_POINTS


def _imaginary(on_path: list[ImaginaryMode], mesh: Any) -> tuple[ImaginaryMode, ...]:
    """Lowest first; that of the mesh only where the path misses it: the rest are the same modes, or their images."""
    lowest = np.array(mesh.frequencies)[:, 0]
    at = int(np.argmin(lowest))
    if lowest[at] < min([IMAGINARY_THZ, *(mode.frequency_thz - _SAME for mode in on_path)]):
        on_path = [*on_path, ImaginaryMode(np.array(mesh.qpoints[at]), "mesh", float(lowest[at]))]
    return tuple(sorted(on_path, key=lambda mode: mode.frequency_thz))


def _thermal(phonon: Any) -> Thermal:
    """Of the modes on the mesh."""
    phonon.run_thermal_properties(temperatures=TEMPERATURES, cutoff_frequency=_ACOUSTIC)
    found = phonon.thermal_properties
    atoms = len(phonon.primitive)
    free_energy = np.array(found.free_energy) * units.kJ / units.mol / atoms
    return Thermal(
        zero_point_energy_ev_per_atom=float(free_energy[0]),
        temperature_k=TEMPERATURES,
        free_energy_ev_per_atom=free_energy,
        entropy_j_per_k_mol=np.array(found.entropy) / atoms,
        heat_capacity_j_per_k_mol=np.array(found.heat_capacity) / atoms,
    )


def _warn(found: Phonons) -> None:
    last = found.supercells[-1]
    whole, part = found.phonopy.primitive_symmetry, found.phonopy.symmetry
    if len(part.pointgroup_operations) < len(whole.pointgroup_operations):
        warnings.warn(
            f"a supercell that has less symmetry than the crystal, {last.matrix.tolist()}: so have the modes; repeat "
            "the conventional cell alike in directions that are",
            DataWarning,
        )
    if found.converged is False:
        how = (
            f"change by {last.band_change_thz:.3f} THz, above {CONVERGED_THZ:g},"
            if last.band_change_thz is not None
            else "were not compared with those of another"
        )
        warnings.warn(
            f"the bands {how} at the supercell of {last.atoms} atoms; the next has more than "
            f"{found.settings.max_atoms}: raise --max-atoms",
            DataWarning,
        )
    if found.imaginary:
        modes = "; ".join(
            f"{mode.frequency_thz:.2f} THz at q = ({', '.join(f'{q:.3f}' for q in mode.q_point)}), {mode.where}"
            for mode in found.imaginary
        )
        warnings.warn(
            f"imaginary modes, so not a minimum (and no free energy): {modes}; displace the atoms along one and relax",
            DataWarning,
        )
