"""The vibrational density of states from velocities: power spectrum of the mass-weighted velocity autocorrelation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.simulate.analysis.blocking import FEWEST_BLOCKS
from equinet.simulate.analysis.curves import TOTAL, banded, symbol
from equinet.simulate.analysis.motion import Motion, few_at_a_time
from equinet.simulate.panels import COLORS, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

WAVENUMBERS_PER_THZ = 33.35640951981521
"""1 THz in 1/cm."""

WORST_MISMATCH = 0.4
"""Displacements between frames against those the velocities give by the trapezoid rule, rms: 1 - (x/2)/tan(x/2) of
them for a vibration of angle x from frame to frame, so that 0.4 is reached at two thirds of the Nyquist frequency."""

SHORTEST = 16
"""Frames in the correlation time, at least."""

_PADDING = 4  # the spectrum is drawn on a grid so many times finer than its resolution


@dataclass(frozen=True)
class ElementSpectrum:
    """The part of an element: its autocorrelation (the sum over elements starts at 1) and density of states, 1/THz."""

    element: str
    autocorrelation: Array
    density_per_thz: Array
    density_error_per_thz: Array


@dataclass(frozen=True)
class VibrationalSpectrum:
    """Of a trajectory.

    Attributes:
        time_ps: [lags] of the autocorrelation.
        autocorrelation: [lags] of mass-weighted velocities, 1 at the start.
        frequency_thz: [frequencies] from 0 to the Nyquist frequency.
        density_per_thz: [frequencies] density of states; its integral (by trapezoids) is the degrees of freedom. Where
            atoms diffuse it does not vanish at 0; where a molecule turns, that is at low frequencies too.
        density_error_per_thz: standard error, from the blocks.
        degrees_of_freedom: 3 N - 3; 3 N - 6 of a molecule that does not turn, 3 N - 5 of a linear one; with fixed atoms
            3 of each that moves.
        resolution_thz: full width at half maximum of a sharp line: 1 / correlation time, by the Hann window.
        nyquist_thz: half the rate of frames.
        interval_fs: between frames.
        blocks: of two correlation times each, averaged over.
        peaks_thz: maxima above a tenth of the highest and four times their error, the highest first.
        mismatch: of displacements and velocities, by element; see WORST_MISMATCH.
        elements: each.
    """

    time_ps: Array
    autocorrelation: Array
    frequency_thz: Array
    density_per_thz: Array
    density_error_per_thz: Array
    degrees_of_freedom: int
    resolution_thz: float
    nyquist_thz: float
    interval_fs: float
    blocks: int
    peaks_thz: Array
    mismatch: dict[str, float]
    elements: tuple[ElementSpectrum, ...]


def vibrational_spectrum(motion: Motion, correlation_ps: float = 2.0) -> VibrationalSpectrum:
    """Autocorrelation of the velocities and its spectrum.

    The trajectory is cut into blocks of two correlation times; in each the autocorrelation is averaged over all time
    origins, weighted by mass, tapered by a Hann window and transformed. The mean is over blocks, the error from their
    spread.

    Args:
        motion: of the trajectory, at frames dense enough to follow each vibration.
        correlation_ps: longest time of the autocorrelation; an eighth of the trajectory where that is less.

    Raises:
        InputError: no velocities; frames too far apart, or velocities that do not belong to the positions; too few
            frames.
    """
    if motion.velocities is None:
        raise InputError("the frames have no velocities; save them, densely (equinet md --interval 1 saves every step)")
    if not (np.isfinite(correlation_ps) and correlation_ps > 0):
        raise InputError(f"a correlation time of {correlation_ps} ps makes no sense; give a number above 0")
    if motion.fixed.all():
        raise InputError("no atom moves; there is no spectrum")
    dt = motion.interval_ps
    longest = min(round(correlation_ps / dt), len(motion) // (2 * FEWEST_BLOCKS))
    if longest < SHORTEST:
        raise InputError(
            f"{len(motion)} frames every {1000 * dt:g} fs are too few for a spectrum: at least "
            f"{2 * FEWEST_BLOCKS * SHORTEST}, and {SHORTEST} in the correlation time of {correlation_ps:g} ps"
        )
    mismatch = _mismatch(motion)
    correlations = _autocorrelations(motion, longest)  # [blocks, elements, lags]
    correlations /= correlations.mean(axis=0).sum(axis=0)[0]
    frequency, densities = _densities(correlations, dt)
    densities *= motion.degrees_of_freedom
    density, error = densities.sum(axis=1).mean(axis=0), _spread(densities.sum(axis=1))
    names = [symbol(number) for number in motion.elements]
    return VibrationalSpectrum(
        time_ps=dt * np.arange(longest + 1, dtype=np.float64),
        autocorrelation=correlations.mean(axis=0).sum(axis=0),
        frequency_thz=frequency,
        density_per_thz=density,
        density_error_per_thz=error,
        degrees_of_freedom=motion.degrees_of_freedom,
        resolution_thz=1 / (longest * dt),
        nyquist_thz=0.5 / dt,
        interval_fs=1000 * dt,
        blocks=len(correlations),
        peaks_thz=_peaks(frequency, density, error),
        mismatch=mismatch,
        elements=tuple(
            ElementSpectrum(
                name, correlations[:, k].mean(axis=0), densities[:, k].mean(axis=0), _spread(densities[:, k])
            )
            for k, name in enumerate(names)
        ),
    )


def draw_vibrational_spectrum(found: VibrationalSpectrum) -> "Figure":
    """The density of states, with the elements' parts, and the autocorrelation."""
    figure, (left, right) = panels(2)
    banded(left, found.frequency_thz, found.density_per_thz, found.density_error_per_thz, TOTAL, "all")
    right.plot(found.time_ps, found.autocorrelation, color=TOTAL, linewidth=1.2, label="all")
    if len(found.elements) > 1:
        for k, each in enumerate(found.elements):
            color = COLORS[k % len(COLORS)]
            left.plot(found.frequency_thz, each.density_per_thz, color=color, linewidth=1.1, label=each.element)
            right.plot(found.time_ps, each.autocorrelation, color=color, linewidth=1.0, label=each.element)
        left.legend(frameon=False, fontsize=8)
    seen = float(found.frequency_thz[found.density_per_thz > 0.01 * found.density_per_thz.max()].max())
    left.set(xlabel="frequency (THz)", ylabel="density of states (1/THz)", ylim=(0, None))
    left.set_xlim(0, min(1.1 * seen + found.resolution_thz, found.nyquist_thz))
    to_wavenumbers: Any = (lambda x: x * WAVENUMBERS_PER_THZ, lambda x: x / WAVENUMBERS_PER_THZ)
    upper = left.secondary_xaxis("top", functions=to_wavenumbers)
    upper.set_xlabel("wavenumber (1/cm)")
    right.axhline(0, color="#999999", linewidth=0.7, zorder=0)
    right.set(xlabel="time (ps)", ylabel="velocity autocorrelation", xlim=(0, found.time_ps[-1]))
    return figure


def _autocorrelations(motion: Motion, longest: int) -> Array:
    """Sum over atoms of m v(0) v(t), [blocks, elements, lags], from Fourier transforms padded with zeros."""
    assert motion.velocities is not None
    length = 2 * longest
    blocks = len(motion) // length
    counts = length - np.arange(longest + 1)
    found = np.empty((blocks, len(motion.elements), longest + 1))
    for k, number in enumerate(motion.elements):
        atoms = np.flatnonzero(motion.numbers == number)
        for b in range(blocks):
            power = np.zeros(length + 1)
            for few in few_at_a_time(atoms):
                velocities = motion.velocities[b * length : (b + 1) * length, few].astype(np.float64)
                transform = np.fft.rfft(velocities, 2 * length, axis=0)
                power += np.einsum("fni,n->f", transform.real**2 + transform.imag**2, motion.masses[few])
            found[b, k] = np.fft.irfft(power)[: longest + 1] / counts
    return found


def _densities(correlations: Array, dt: float) -> tuple[Array, Array]:
    """Frequencies (THz), and cosine transforms of the tapered correlations, of integral 1 where they start with 1."""
    longest = correlations.shape[-1] - 1
    tapered = correlations * np.cos(np.pi / 2 * np.arange(longest + 1) / longest) ** 2
    points = 2 * _PADDING * longest
    even = np.zeros((*correlations.shape[:-1], points))
    even[..., : longest + 1] = tapered
    even[..., -longest:] = tapered[..., :0:-1]
    densities = 2 * dt * np.fft.rfft(even, axis=-1).real
    return np.asarray(np.fft.rfftfreq(points, dt), np.float64), densities


def _spread(blocks: Array) -> Array:
    return np.asarray(blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks)))


def _peaks(frequency: Array, density: Array, error: Array) -> Array:
    from scipy.signal import find_peaks

    prominence = max(0.1 * density.max(), 4 * float(np.median(error)))
    found = find_peaks(density, prominence=prominence)[0]
    return np.asarray(frequency[found[np.argsort(-density[found])]])


def _mismatch(motion: Motion) -> dict[str, float]:
    """How far displacements are from what velocities give, by element.

    Raises:
        InputError: too far.
    """
    assert motion.velocities is not None
    found = {}
    for number in motion.elements:
        chosen = (motion.numbers == number) & ~motion.fixed
        if not chosen.any():
            continue
        missed, moved = 0.0, 0.0
        for few in few_at_a_time(np.flatnonzero(chosen)):
            steps = np.diff(motion.displacements[:, few], axis=0)
            velocities = motion.velocities[:, few]
            given = (velocities[1:] + velocities[:-1]) * np.float32(motion.interval_ps / 2)
            missed += float(np.sum((steps - given) ** 2, dtype=np.float64))
            moved += float(np.sum(steps**2, dtype=np.float64))
        found[symbol(number)] = float(np.sqrt(missed / moved))
    worst = max(found, key=found.__getitem__)
    if found[worst] > WORST_MISMATCH:
        raise InputError(
            f"the velocities of {worst} do not carry it from frame to frame ({100 * found[worst]:.0f} % off): at every "
            f"{1000 * motion.interval_ps:g} fs its vibrations are faster than frames (Nyquist frequency "
            f"{0.5 / motion.interval_ps:.3g} THz), or the time step or the unit of velocities is not what the file or "
            "--timestep says; save frames more often"
        )
    return found
