"""Mean square displacements and self-diffusion coefficients, by element, with block-averaged errors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase import units
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.simulate.analysis.blocking import windowed_average
from equinet.simulate.analysis.curves import banded, symbol, with_error
from equinet.simulate.analysis.motion import Motion, few_at_a_time
from equinet.simulate.panels import COLORS, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

Regime = Literal["diffusive", "not diffusive", "subdiffusive", "superdiffusive", "undecided"]

M2_PER_S = 1e-8
"""1 Angstrom^2/ps."""

YEH_HUMMER = 2.837297
"""Of a cubic box (Yeh and Hummer, J. Phys. Chem. B 108, 15873 (2004))."""

FEWEST_FRAMES = 40
_LAGS = 120  # time differences at which the displacement is averaged


@dataclass(frozen=True)
class ElementDiffusion:
    """How atoms of an element move.

    Attributes:
        element: chemical symbol.
        atoms: of it, without fixed ones.
        msd_angstrom2: [lags] mean square displacement.
        msd_error_angstrom2: [lags] standard error.
        exponent: of the power law in the window of the fit: 1 where atoms diffuse, 0 where they vibrate, 2 in free
            flight.
        exponent_error: standard error.
        regime: "diffusive": the exponent is 1 within 0.2 or two errors, and the coefficient above two of its errors;
            "undecided": the exponent's error is above 0.5, or there is none: the run is too short.
        diffusion_m2_per_s: slope of the fit over twice the number of directions; None unless diffusive.
        diffusion_error_m2_per_s: standard error; None where there are too few blocks.
        diffusion_below_m2_per_s: slope and two errors: a bound where atoms do not diffuse, or not yet; else None.
        corrected_m2_per_s: with the finite-size correction, where asked for and diffusive.
        settled: whether the errors come from blocks that are long enough; else they are lower bounds.
    """

    element: str
    atoms: int
    msd_angstrom2: Array
    msd_error_angstrom2: Array
    exponent: float
    exponent_error: float
    regime: Regime
    diffusion_m2_per_s: float | None
    diffusion_error_m2_per_s: float | None
    diffusion_below_m2_per_s: float | None
    corrected_m2_per_s: float | None
    settled: bool


@dataclass(frozen=True)
class Diffusion:
    """Of a trajectory.

    Attributes:
        time_ps: [lags] time differences.
        fit_ps: the window of the linear fit.
        directions: counted: 3, or the periodic ones of a slab or wire.
        duration_ps: of the trajectory.
        finite_size_m2_per_s: what was added for the finite box, None where not asked for.
        elements: each.
    """

    time_ps: Array
    fit_ps: tuple[float, float]
    directions: int
    duration_ps: float
    finite_size_m2_per_s: float | None
    elements: tuple[ElementDiffusion, ...]

    def of(self, element: str) -> ElementDiffusion:
        """The motion of an element, by its symbol."""
        return next(found for found in self.elements if found.element == element)


def diffusion(
    motion: Motion,
    fit_ps: tuple[float, float] | None = None,
    viscosity_mpa_s: float | None = None,
    temperature_k: float | None = None,
) -> Diffusion:
    """Mean square displacements over all time origins, and coefficients from a linear fit.

    The coefficient is a weighted sum of displacements, so each time origin gives one; their mean is the coefficient of
    the least-squares line, and its error comes from the series of time origins (:mod:`.blocking`).

    Args:
        motion: of the trajectory.
        fit_ps: time differences between which the line is fitted. None: from a fiftieth to a tenth of the trajectory.
        viscosity_mpa_s: shear viscosity of the liquid: the coefficient of an infinite system, D + 2.837297 k T /
            (6 pi eta L), is given too (Yeh and Hummer, J. Phys. Chem. B 108, 15873 (2004)); for cubic boxes.
        temperature_k: for that correction; None: of the velocities.

    Raises:
        InputError: too few frames; a window outside the trajectory; a correction without cubic box or temperature.
    """
    count, dt = len(motion), motion.interval_ps
    if count < FEWEST_FRAMES:
        raise InputError(
            f"{count} frames are too few for diffusion, {FEWEST_FRAMES} are wanted; save more, or run longer"
        )
    if motion.fixed.all():
        raise InputError("no atom moves; there is nothing to average")
    duration = (count - 1) * dt
    low, high = fit_ps or (max(dt, duration / 50), duration / 10)
    if not (0 < low < high <= duration / 2 * (1 + 1e-9)) or round(high / dt) - round(low / dt) < 2:
        raise InputError(
            f"a fit from {low:g} to {high:g} ps cannot be: it must lie between 0 and half the trajectory of "
            f"{duration:g} ps, and span three frames ({dt:g} ps apart); change --fit"
        )
    first, last = max(1, round(low / dt)), round(high / dt)
    lags = np.unique(np.concatenate([np.arange(1, min(10, last) + 1), np.linspace(1, last, _LAGS).round()])).astype(int)
    chosen = lags >= first
    weights, powers = _slope(lags[chosen] * dt), _slope(np.log(lags[chosen] * dt))
    basis = _directions(motion)
    shift = None if viscosity_mpa_s is None else _finite_size(motion, viscosity_mpa_s, temperature_k)
    found = []
    for number in motion.elements:
        moving = (motion.numbers == number) & ~motion.fixed
        if not moving.any():
            continue
        series = _squares(motion, np.flatnonzero(moving), lags, basis)  # [origins, lags]
        msd = windowed_average(series, last)
        slope = windowed_average(series[:, chosen] @ weights / (2 * len(basis)), last)
        level = np.maximum(msd.mean[chosen], 1e-300)
        exponent = float(powers @ np.log(level))
        exponent_error = float(windowed_average((series[:, chosen] / level) @ powers, last).error)
        value, error = float(slope.mean), float(slope.error)
        regime = _regime(exponent, exponent_error, value, error)
        bound = (max(value, 0.0) + 2 * error) * M2_PER_S
        coefficient = value * M2_PER_S if regime == "diffusive" else None
        found.append(
            ElementDiffusion(
                element=symbol(number),
                atoms=int(moving.sum()),
                msd_angstrom2=msd.mean,
                msd_error_angstrom2=msd.error,
                exponent=exponent,
                exponent_error=exponent_error,
                regime=regime,
                diffusion_m2_per_s=coefficient,
                diffusion_error_m2_per_s=error * M2_PER_S if np.isfinite(error) else None,
                diffusion_below_m2_per_s=bound if regime in ("not diffusive", "subdiffusive") else None,
                corrected_m2_per_s=None if coefficient is None or shift is None else coefficient + shift,
                settled=bool(slope.settled),
            )
        )
    return Diffusion(lags * dt, (first * dt, last * dt), len(basis), duration, shift, tuple(found))


def draw_diffusion(found: Diffusion) -> "Figure":
    """The mean square displacement: linear with the fits, and in logarithms with the slope of diffusion."""
    from matplotlib.ticker import NullFormatter

    figure, (left, right) = panels(2)
    left.axvspan(*found.fit_ps, color="#000000", alpha=0.05, linewidth=0)
    time = found.time_ps
    window = time >= found.fit_ps[0] * (1 - 1e-9)
    for k, each in enumerate(found.elements):
        color, msd = COLORS[k % len(COLORS)], each.msd_angstrom2
        label = f"{each.element}: {each.regime}"
        if each.diffusion_m2_per_s is not None:
            value, error = 1e9 * each.diffusion_m2_per_s, 1e9 * (each.diffusion_error_m2_per_s or np.nan)
            label = f"{each.element}: D = ({with_error(value, error)})·10⁻⁹ m²/s"
            line = np.polyfit(time[window], msd[window], 1)
            left.plot(time[window], np.polyval(line, time[window]), color="#000000", linewidth=0.9, linestyle="--")
        banded(left, time, msd, each.msd_error_angstrom2, color, label)
        right.loglog(time, msd, color=color, linewidth=1.4, label=f"{each.element}: slope {each.exponent:.2f}")
    edge = time[window]
    above = 2 * max(float((each.msd_angstrom2[window] / edge).max()) for each in found.elements)
    right.loglog(edge, above * edge, color="#999999", linewidth=0.9, linestyle=":", label="slope 1")
    highest = max(float(each.msd_angstrom2.max()) for each in found.elements)
    left.set(xlabel="time difference (ps)", ylabel="mean square displacement (Å²)", xlim=(0, None))
    left.set_ylim(0, highest * (1.15 + 0.08 * len(found.elements)))  # room for the legend
    right.set(xlabel="time difference (ps)", ylabel="mean square displacement (Å²)")
    for each_axis in (right.xaxis, right.yaxis):
        each_axis.set_minor_formatter(NullFormatter())
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _squares(motion: Motion, atoms: NDArray[np.int64], lags: NDArray[np.int64], basis: Array) -> Array:
    """Mean over atoms of the square of what each moved, [origins, lags]; the same origins for every lag."""
    origins = len(motion) - int(lags[-1])
    series = np.zeros((origins, len(lags)))
    for few in few_at_a_time(atoms):
        moved = motion.displacements[:, few]
        if len(basis) < 3:
            moved = moved @ basis.T.astype(np.float32)
        for k, lag in enumerate(lags):
            steps = moved[lag : lag + origins] - moved[:origins]
            series[:, k] += np.einsum("tni,tni->t", steps, steps)
    return series / len(atoms)


def _slope(x: Array) -> Array:
    """Weights w, so that w @ y is the slope of the least-squares line through y(x)."""
    centred = x - x.mean()
    return np.asarray(centred / (centred @ centred))


def _directions(motion: Motion) -> Array:
    """Orthonormal rows: those along the periodic cell vectors of a slab or wire, else all three."""
    periodic = motion.cell[motion.pbc]
    if len(periodic) in (0, 3):
        return np.eye(3)
    return np.asarray(np.linalg.qr(periodic.T)[0].T)


def _regime(exponent: float, exponent_error: float, value: float, error: float) -> Regime:
    if not exponent_error <= 0.5 or not np.isfinite(error):
        return "undecided"
    if exponent < 0.5 or value <= 2 * error:
        return "not diffusive"
    if abs(exponent - 1) <= max(0.2, 2 * exponent_error):
        return "diffusive"
    return "subdiffusive" if exponent < 1 else "superdiffusive"


def _finite_size(motion: Motion, viscosity: float, temperature: float | None) -> float:
    """m^2/s to add."""
    if not (np.isfinite(viscosity) and viscosity > 0):
        raise InputError(f"a viscosity of {viscosity} mPa s makes no sense; give a number above 0")
    temperature = motion.temperature_k if temperature is None else temperature
    if temperature is None or not temperature > 0:
        raise InputError(
            "the finite-size correction needs a temperature, and there are no velocities; give --temperature"
        )
    volume = abs(np.linalg.det(motion.cell)) if motion.pbc.all() else 0.0
    side = np.cbrt(volume)
    if not volume or abs(motion.cell @ motion.cell.T / side**2 - np.eye(3)).max() > 0.02:
        raise InputError("the finite-size correction is that of a cubic box, and this is none; leave --viscosity out")
    joule = units.kB / units.J * temperature
    return float(YEH_HUMMER * joule / (6 * np.pi * viscosity * 1e-3 * side * 1e-10))
