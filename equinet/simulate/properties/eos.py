"""Energy over volume of a crystal: equilibrium volume, bulk modulus, and whether the stress belongs to the energy."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from equinet.errors import DataWarning, InputError
from equinet.simulate.properties.eos_fit import EosFit, Form, fit_eos
from equinet.simulate.properties.settle import check_relaxation, settled_at_volume
from equinet.simulate.properties.start import check_crystal
from equinet.units import EV_PER_A3_IN_GPA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_RESIDUAL = 0.02
"""Of the fit, over the largest energy above the minimum: above it the curve is no equation of state."""

LARGEST_PRESSURE_MISMATCH = 0.01
"""Between stress and -dE/dV, over the largest pressure of the curve."""

LARGEST_CURVE_MISMATCH = 0.05
"""Between the fit's bulk modulus and that of the stresses at its minimum, or their pressures, over the largest."""

_STEP = 1e-3  # of the volume, for -dE/dV: its error is 1e-6 of the modulus, and float32 still sees the difference


@dataclass(frozen=True)
class EosSettings:
    """How the curve is measured.

    Attributes:
        range: of volumes to each side, as a part of the volume given.
        points: volumes, evenly spaced.
        relax_ions: relax positions and shape of the cell at each volume.
        forms: of the equation of state; the first is drawn.
        fmax: of these relaxations, eV/Angstrom.
        max_steps: of each.
    """

    range: float = 0.06
    points: int = 11
    relax_ions: bool = True
    forms: tuple[Form, ...] = ("birch-murnaghan",)
    fmax: float = 1e-4
    max_steps: int = 500

    def check(self) -> None:
        """Say what makes no sense.

        Raises:
            InputError: as said.
        """
        if not 0 < self.range < 0.5:
            raise InputError(f"a range of {self.range:g} makes no sense; give a part of the volume between 0 and 0.5")
        if self.points < 5:
            raise InputError(f"{self.points} volumes are too few for four numbers; give 5 or more")
        check_relaxation(self.fmax, self.max_steps)


@dataclass(frozen=True)
class EosResult:
    """A measured curve.

    Attributes:
        atoms: in the cell.
        volumes_a3: [N] ascending.
        energies_ev: [N].
        stress_pressures_gpa: [N], a third of the stress tensor's trace, with a minus.
        energy_pressures_gpa: [N], -dE/dV by differences of energies on both sides of each volume.
        pressure_mismatch_gpa: largest difference of the two: the error of the model's stress.
        fits: one for each form.
        fit_pressure_mismatch_gpa: largest difference between the stress and the first fit's -dE/dV.
        local_bulk_modulus_gpa: -V dP/dV of the stresses at the first fit's minimum, which knows no form of the curve.
        relaxed_ions: whether positions and shape were relaxed at each volume.
    """

    atoms: int
    volumes_a3: np.ndarray
    energies_ev: np.ndarray
    stress_pressures_gpa: np.ndarray
    energy_pressures_gpa: np.ndarray
    pressure_mismatch_gpa: float
    fits: tuple[EosFit, ...]
    fit_pressure_mismatch_gpa: float
    local_bulk_modulus_gpa: float
    relaxed_ions: bool


def equation_of_state(
    atoms: Atoms,
    calculator: Any,
    settings: EosSettings | None = None,
    on_step: Callable[[int], None] | None = None,
) -> EosResult:
    """Strain a crystal uniformly and fit its energies.

    Args:
        atoms: a crystal near its equilibrium volume; not changed. See ``starting_structure``.
        calculator: any ASE calculator with stress.
        settings: None: the defaults.
        on_step: called with the number of volumes done.

    Raises:
        InputError: settings that make no sense, a relaxation that does not end, no minimum inside the range.

    Warns:
        DataWarning: the energies are off every equation of state, the curve does not have the slopes and curvature of
            the stresses, or the stress is not the energy's derivative.
    """
    settings = settings or EosSettings()
    settings.check()
    check_crystal(atoms)
    middle = settings.points // 2
    scales = np.linspace(1 - settings.range, 1 + settings.range, settings.points)
    rows: dict[int, tuple[float, float, float, float]] = {}
    # from the middle outwards: each relaxation starts where its neighbour ended, on the same branch
    for way in (range(middle, settings.points), range(middle - 1, -1, -1)):
        last = atoms
        for point in way:
            here = _scaled(last, float(scales[point]) * atoms.get_volume())
            if settings.relax_ions:
                what = f"the structure at {scales[point]:.3f} of its volume"
                here = settled_at_volume(here, calculator, settings.fmax, settings.max_steps, what)
            rows[point] = _measured(here, calculator)
            last = here
            if on_step is not None:
                on_step(len(rows))
    columns = np.array([rows[point] for point in range(settings.points)]).T
    volumes, energies, stress_pressures, energy_pressures = columns
    fits = tuple(fit_eos(volumes, energies, len(atoms), form) for form in settings.forms)
    result = EosResult(
        atoms=len(atoms),
        volumes_a3=volumes,
        energies_ev=energies,
        stress_pressures_gpa=stress_pressures,
        energy_pressures_gpa=energy_pressures,
        pressure_mismatch_gpa=float(abs(stress_pressures - energy_pressures).max()),
        fits=fits,
        fit_pressure_mismatch_gpa=float(abs(stress_pressures - fits[0].pressures_gpa(volumes)).max()),
        local_bulk_modulus_gpa=_local_modulus(volumes, stress_pressures, fits[0].volume_a3),
        relaxed_ions=settings.relax_ions,
    )
    _warn(result)
    return result


def draw_eos(result: EosResult, title: str = "") -> "Figure":
    """Energies above the minimum with the curve, and pressures: from the stress, from the energies, of the curve."""
    from equinet.simulate.panels import BLUE, GREY, ORANGE, panels

    figure, (left, right) = panels(2, width=4.0, height=3.4)
    fit, count = result.fits[0], result.atoms
    volumes = np.linspace(result.volumes_a3[0], result.volumes_a3[-1], 300)
    label = {"birch-murnaghan": "Birch-Murnaghan", "vinet": "Vinet"}[fit.form]
    left.plot(volumes / count, 1e3 * (fit.energies_ev(volumes) - fit.energy_ev) / count, color=BLUE, label=label)
    points = 1e3 * (result.energies_ev - fit.energy_ev) / count
    left.plot(result.volumes_a3 / count, points, "o", color=BLUE, markersize=4.5, label="model")
    left.set_title(
        f"$V_0$ = {fit.volume_per_atom_a3:.3f} Å³/atom, $B_0$ = {fit.bulk_modulus_gpa:.1f} GPa, "
        f"$B_0'$ = {fit.bulk_modulus_derivative:.2f}",
        fontsize=9,
    )
    left.set(xlabel="volume, Å³/atom", ylabel="energy above the minimum, meV/atom")
    left.legend(frameon=False, fontsize=8, loc="upper center")
    right.plot(volumes / count, fit.pressures_gpa(volumes), color=BLUE, label="$-dE/dV$ of the curve")
    style: dict[str, Any] = {"linestyle": "none", "marker": "o"}
    right.plot(
        result.volumes_a3 / count, result.stress_pressures_gpa, color=BLUE, markersize=4.5, label="stress", **style
    )
    right.plot(
        result.volumes_a3 / count,
        result.energy_pressures_gpa,
        color=ORANGE,
        markersize=8,
        fillstyle="none",
        label="$-dE/dV$ by differences",
        **style,
    )
    for axes in (left, right):
        axes.axvline(fit.volume_per_atom_a3, color=GREY, linewidth=0.8, linestyle=":")
    right.axhline(0, color=GREY, linewidth=0.8)
    right.set_title(f"curve and stress differ by {result.fit_pressure_mismatch_gpa:.2g} GPa at most", fontsize=9)
    right.set(xlabel="volume, Å³/atom", ylabel="pressure, GPa")
    right.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _scaled(atoms: Atoms, volume: float) -> Atoms:
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell * np.cbrt(volume / atoms.get_volume()), scale_atoms=True)
    return scaled


def _measured(atoms: Atoms, calculator: Any) -> tuple[float, float, float, float]:
    """Volume, energy, pressure from the stress, pressure from energies beside it."""
    volume = atoms.get_volume()
    beside = [float(calculator.get_property("energy", _scaled(atoms, volume * (1 + sign * _STEP)))) for sign in (-1, 1)]
    energy = float(calculator.get_property("energy", atoms))
    pressure = -float(np.mean(calculator.get_property("stress", atoms)[:3]))
    slope = (beside[1] - beside[0]) / (2 * _STEP * volume)
    return volume, energy, pressure * EV_PER_A3_IN_GPA, -slope * EV_PER_A3_IN_GPA


def _local_modulus(volumes: np.ndarray, pressures: np.ndarray, volume: float) -> float:
    from scipy.interpolate import CubicSpline

    return -volume * float(CubicSpline(volumes, pressures)(volume, 1))


def _warn(result: EosResult) -> None:
    fit = result.fits[0]
    largest = float(abs(result.energy_pressures_gpa).max())
    moduli = fit.bulk_modulus_gpa, result.local_bulk_modulus_gpa
    curve_mismatch = max(abs(moduli[0] - moduli[1]) / max(moduli), result.fit_pressure_mismatch_gpa / largest)
    if fit.relative_residual > LARGEST_RESIDUAL:
        warnings.warn(
            f"the energies are off the {fit.form} curve by {fit.rms_residual_mev_per_atom:.3g} meV/atom (rms), "
            f"{100 * fit.relative_residual:.0f} % of the highest: the crystal changes on the way, or the potential is "
            "not smooth; look at the figure, or give a smaller --range",
            DataWarning,
        )
    # what the stress itself is off by is no fault of the curve
    elif curve_mismatch > LARGEST_CURVE_MISMATCH + result.pressure_mismatch_gpa / largest:
        warnings.warn(
            f"the {fit.form} curve does not describe the whole range: its bulk modulus is {moduli[0]:.4g} GPa where "
            f"the stresses at its minimum have {moduli[1]:.4g}, and its pressures are "
            f"off by up to {result.fit_pressure_mismatch_gpa:.3g} of {largest:.3g} GPa; give a smaller --range",
            DataWarning,
        )
    if result.pressure_mismatch_gpa > LARGEST_PRESSURE_MISMATCH * largest:
        warnings.warn(
            f"the stress is not the derivative of the energy: pressures differ by "
            f"{result.pressure_mismatch_gpa:.3g} of {largest:.3g} GPa; check the model with equinet verify",
            DataWarning,
        )
