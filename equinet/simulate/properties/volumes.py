"""A structure pressed to half its volume and stretched to twice: does it resist?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from equinet.errors import InputError
from equinet.simulate.properties.smoothness import first_jump, minima
from equinet.simulate.properties.start import check_crystal
from equinet.units import EV_PER_A3_IN_GPA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANGE = (0.5, 2.0)
"""Of the volumes, as parts of that given."""

POINTS = 61
"""Volumes, of which each is a fixed factor from the next."""

_RISE = 1e-3  # eV/atom: a fall that is smaller is none
_JUMP = 5e-3  # eV/atom
_WEAKER = 0.01  # of the largest pressure


@dataclass(frozen=True)
class VolumeScan:
    """A structure strained uniformly, atoms at their places in the cell.

    Attributes:
        volumes: [N] ascending, as parts of the volume given.
        volumes_per_atom_a3: [N].
        energies_ev_per_atom: [N].
        pressures_gpa: [N], of the stress.
        minimum: volume of the lowest energy near that given, as a part of it.
        flags: what is wrong, in words; empty where nothing is.
    """

    volumes: np.ndarray
    volumes_per_atom_a3: np.ndarray
    energies_ev_per_atom: np.ndarray
    pressures_gpa: np.ndarray
    minimum: float
    flags: tuple[str, ...]


def volume_scan(
    atoms: Atoms,
    calculator: Any,
    smallest: float = RANGE[0],
    largest: float = RANGE[1],
    points: int = POINTS,
    on_step: Callable[[int], None] | None = None,
) -> VolumeScan:
    """Energy and pressure from strong compression to strong expansion.

    Args:
        atoms: a crystal or liquid; not changed.
        calculator: any ASE calculator with stress.
        smallest: volume, as a part of that given.
        largest: likewise.
        points: volumes, each a fixed factor from the next.
        on_step: called with the number of volumes done.

    Raises:
        InputError: no crystal, volumes that make no sense.
    """
    check_crystal(atoms)
    if not (0.01 <= smallest < 1 < largest <= 100) or points < 8:
        raise InputError(
            f"{points} volumes from {smallest:g} to {largest:g} of that given make no sense; give one below 1 and one "
            "above, and 8 volumes or more"
        )
    volume = atoms.get_volume() / len(atoms)

    def at(per_atom: float) -> tuple[float, float]:
        strained = atoms.copy()
        strained.set_cell(atoms.cell * np.cbrt(per_atom / volume), scale_atoms=True)
        energy = float(calculator.get_property("energy", strained)) / len(atoms)
        return energy, float(np.mean(calculator.get_property("stress", strained)[:3]))

    scales = np.geomspace(smallest, largest, points)
    energies, slopes = np.zeros(points), np.zeros(points)
    for index, scale in enumerate(scales):
        energies[index], slopes[index] = at(scale * volume)
        if on_step is not None:
            on_step(index + 1)
    lowest = _own_minimum(scales, energies)
    flags = _flags(scales, energies, -slopes, lowest)
    jump = first_jump(at, scales * volume, energies, slopes, _JUMP)
    if jump is not None:
        flags += (
            f"jump: the energy changes by {jump[1]:+.3g} eV/atom at once at {jump[0] / volume:.3f} of the volume",
        )
    pressures = -slopes * EV_PER_A3_IN_GPA
    return VolumeScan(scales, scales * volume, energies, pressures, float(scales[lowest]), flags)


def draw_volumes(scan: VolumeScan, title: str = "") -> "Figure":
    """Energy and pressure over the volume."""
    from equinet.simulate.panels import BLUE, GREY, RED, panels, plain_asinh

    figure, (left, right) = panels(2, width=4.0, height=3.4)
    color = RED if scan.flags else BLUE
    left.plot(
        scan.volumes, scan.energies_ev_per_atom - np.interp(scan.minimum, scan.volumes, scan.energies_ev_per_atom)
    )
    left.lines[0].set(color=color, marker="o", markersize=2.5)
    left.set(ylabel="energy above the minimum, eV/atom")
    plain_asinh(left, 1.0)
    right.plot(scan.volumes, scan.pressures_gpa, color=color, marker="o", markersize=2.5)
    right.set(ylabel="pressure, GPa")
    plain_asinh(right, 10.0)
    right.axhline(0, color=GREY, linewidth=0.8)
    for axes in (left, right):
        axes.set_xlabel("volume over that given")
        axes.axvline(scan.minimum, color=GREY, linewidth=0.8, linestyle=":")
    verdict = "; ".join(flag.split(":")[0] for flag in scan.flags) or "no flag"
    figure.suptitle(f"{title}: {verdict}" if title else verdict, fontsize=10, color=RED if scan.flags else "black")
    return figure


def _own_minimum(scales: np.ndarray, energies: np.ndarray) -> int:
    """The minimum of the structure itself: the local one whose volume is nearest to that given."""
    found = minima(energies)
    candidates = found if len(found) else np.array([int(np.argmin(energies))])
    return int(candidates[np.argmin(abs(np.log(scales[candidates])))])


def _flags(scales: np.ndarray, energies: np.ndarray, pressures: np.ndarray, lowest: int) -> tuple[str, ...]:
    flags = []
    compressed, smaller = energies[lowest::-1], scales[lowest::-1]  # from the minimum on
    falls = np.flatnonzero(np.diff(compressed) < -_RISE)
    if len(falls):
        flags.append(
            f"no rise under compression: the energy falls below {smaller[falls[0]]:.2f} of the volume, to "
            f"{compressed[falls[0] + 1 :].min() - compressed[0]:+.3g} eV/atom from the minimum at the lowest"
        )
    pushes = pressures[lowest::-1]
    weaker = np.flatnonzero(pushes < np.maximum.accumulate(pushes) - _WEAKER * pushes.max())
    if len(weaker):
        flags.append(f"softens under compression: the pressure falls below {smaller[weaker[0] - 1]:.2f} of the volume")
    stretched = energies[lowest:]
    falls = np.flatnonzero(np.diff(stretched) < -_RISE)
    if len(falls):
        flags.append(
            f"falls under expansion: the energy falls from {scales[lowest + falls[0]]:.2f} of the volume, by up to "
            f"{(np.maximum.accumulate(stretched) - stretched).max():.3g} eV/atom"
        )
    return tuple(flags)
