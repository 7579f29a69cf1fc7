"""Two atoms alone, from far to where no data are: does the potential keep them apart?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from equinet.errors import InputError
from equinet.simulate.properties.smoothness import first_jump, minima

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONTACT = 0.55
"""Of the sum of covalent radii (Cordero et al., Dalton Trans. 2008, 2832): no two atoms are bound at a shorter distance
(Cr2, the extreme, is at 0.60), so that a potential must push there."""

_STEP = 1e-4  # Angstrom, for -dE/dr
_FORCE_TOLERANCE = (2e-2, 1e-3)  # eV/Angstrom, twice the rounding of float32 energies; and as a part of the force
_JUMP = 0.05  # eV
_TAIL = 0.01  # eV


@dataclass(frozen=True)
class Minimum:
    """A place where two atoms may stay.

    Attributes:
        distance_a: of the atoms.
        energy_ev: against separate atoms.
        barrier_ev: highest energy at longer distances: separate atoms that meet with more come here.
    """

    distance_a: float
    energy_ev: float
    barrier_ev: float


@dataclass(frozen=True)
class DimerCurve:
    """Two atoms.

    Attributes:
        elements: of the two.
        distances_a: [N] ascending.
        energies_ev: [N] against the two alone.
        forces_ev_per_a: [N] on one, away from the other.
        force_errors_ev_per_a: [N] largest difference from -dE/dr (central differences of 1e-4 Angstrom, or less).
        contact_a: below it nothing is bound.
        minima: from short distances to long.
        flags: what is wrong, in words; empty where nothing is.
    """

    elements: tuple[str, str]
    distances_a: np.ndarray
    energies_ev: np.ndarray
    forces_ev_per_a: np.ndarray
    force_errors_ev_per_a: np.ndarray
    contact_a: float
    minima: tuple[Minimum, ...]
    flags: tuple[str, ...]


def pairs_of(species: Sequence[str]) -> list[tuple[str, str]]:
    """Each pair of elements once, equal ones too.

    Raises:
        InputError: no chemical symbol among them.
    """
    wrong = [symbol for symbol in species if symbol not in atomic_numbers or symbol == "X"]
    if wrong:
        raise InputError(f"--species: {wrong[0]!r} is no chemical symbol")
    return list(combinations_with_replacement(dict.fromkeys(species), 2))


def dimer_curve(
    elements: tuple[str, str], calculator: Any, longest: float, shortest: float = 0.5, step: float = 0.05
) -> DimerCurve:
    """Energy and force of two atoms over their distance.

    Args:
        elements: chemical symbols.
        calculator: any ASE calculator that takes molecules.
        longest: distance, Angstrom: the cutoff of the potential.
        shortest: distance, Angstrom.
        step: between distances, Angstrom.

    Raises:
        InputError: distances that make no sense.
    """
    if not (0.01 <= shortest < longest and 0.001 <= step < longest - shortest):
        raise InputError(
            f"distances from {shortest:g} to {longest:g} A in steps of {step:g} make no sense; give --shortest "
            "above 0 and below the cutoff"
        )
    distances = np.linspace(shortest, longest, round((longest - shortest) / step) + 1)
    apart = sum(float(calculator.get_property("energy", Atoms([symbol]))) for symbol in elements)

    def at(distance: float) -> Atoms:
        return Atoms(elements, positions=[[0.0, 0.0, 0.0], [0.0, 0.0, distance]])

    def energy(distance: float) -> float:
        return float(calculator.get_property("energy", at(distance))) - apart

    energies, forces, errors = np.zeros_like(distances), np.zeros_like(distances), np.zeros_like(distances)
    for index, distance in enumerate(distances):
        energies[index] = energy(distance)
        both = calculator.get_property("forces", at(distance))
        forces[index] = both[1, 2]
        errors[index] = np.inf
        for apart_by in (_STEP, _STEP / 10, _STEP / 100):  # the longer ones miss what bends sharply
            slope = (energy(distance + apart_by) - energy(distance - apart_by)) / (2 * apart_by)
            error = abs(both - np.array([[0.0, 0.0, slope], [0.0, 0.0, -slope]])).max()
            errors[index] = min(errors[index], error)
            if error <= _bearable(forces[index]):
                break
    contact = CONTACT * float(sum(covalent_radii[atomic_numbers[symbol]] for symbol in elements))
    found = tuple(_minimum(distances, energies, index) for index in minima(energies))
    flags = _flags(distances, energies, forces, errors, contact, found)
    jump = first_jump(
        lambda distance: (energy(distance), -float(calculator.get_property("forces", at(distance))[1, 2])),
        distances,
        energies,
        -forces,
        _JUMP,
    )
    if jump is not None:
        flags += (f"jump: the energy changes by {jump[1]:+.3g} eV at once at {jump[0]:.3f} A",)
    return DimerCurve(elements, distances, energies, forces, errors, contact, found, flags)


def draw_dimers(curves: Sequence[DimerCurve], title: str = "") -> "Figure":
    """A panel for each pair: the energy, linear about 0 and logarithmic far from it; minima as dots."""
    from equinet.simulate.panels import BLUE, GREY, RED, panels, plain_asinh

    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    figure, axes = panels(columns, rows, width=3.3 if len(curves) > 1 else 4.6, height=3.0)
    for panel, curve in zip(axes, curves, strict=False):
        color = RED if curve.flags else BLUE
        shortest = curve.distances_a[0]
        panel.axvspan(shortest, max(curve.contact_a, shortest), color=GREY, alpha=0.15, linewidth=0)
        panel.axhline(0, color=GREY, linewidth=0.8)
        panel.plot(curve.distances_a, curve.energies_ev, color=color)
        for minimum in curve.minima:
            panel.plot(minimum.distance_a, minimum.energy_ev, "o", color=color, markersize=4, clip_on=False)
        plain_asinh(panel, 1.0)
        panel.set_xlim(curve.distances_a[0], curve.distances_a[-1])
        verdict = "; ".join(dict.fromkeys(flag.split(":")[0] for flag in curve.flags)) or "no flag"
        panel.set_title(f"{'-'.join(curve.elements)}\n{verdict}", fontsize=9, color="black" if not curve.flags else RED)
    for panel in axes[len(curves) :]:
        panel.set_visible(False)
    figure.supxlabel("distance, Å (grey: shorter than any bond)", fontsize=9)
    figure.supylabel("energy against separate atoms, eV", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def _bearable(forces: Any) -> Any:
    """Errors of the forces that are none, eV/Angstrom."""
    return _FORCE_TOLERANCE[0] + _FORCE_TOLERANCE[1] * abs(forces)


def _minimum(distances: np.ndarray, energies: np.ndarray, index: int) -> Minimum:
    barrier = max(0.0, float(energies[index:].max()))
    return Minimum(float(distances[index]), float(energies[index]), barrier)


def _flags(
    distances: np.ndarray,
    energies: np.ndarray,
    forces: np.ndarray,
    errors: np.ndarray,
    contact: float,
    found: tuple[Minimum, ...],
) -> tuple[str, ...]:
    flags = []
    # where the shortest distance is no contact (hydrogen), it stands for one
    short = distances <= max(contact, distances[0])
    if not (forces[short] > 0).all():
        where = distances[short][forces[short] <= 0]
        flags.append(f"not repulsive: atoms attract each other between {where[0]:.2f} and {where[-1]:.2f} A")
    flags += [
        f"hole: a minimum of {each.energy_ev:.3g} eV at {each.distance_a:.2f} A, reached with {each.barrier_ev:.3g} eV"
        for each in found
        if each.distance_a <= max(contact, distances[0])
    ]
    limit = _bearable(forces)
    if (errors > limit).any():
        worst = int(np.argmax(errors / limit))
        flags.append(f"force is not -dE/dr: off by {errors[worst]:.3g} eV/A at {distances[worst]:.2f} A")
    if abs(energies[-1]) > _TAIL:
        flags.append(f"no end: {energies[-1]:.3g} eV against separate atoms at {distances[-1]:.2f} A")
    return tuple(flags)
