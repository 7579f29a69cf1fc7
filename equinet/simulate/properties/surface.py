"""What it costs to cut a crystal: slabs of a Miller index, so thick that their surfaces do not feel each other."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ase.build
import numpy as np
from ase import Atoms

from equinet.errors import DataWarning, InputError
from equinet.simulate.properties.settle import check_relaxation, settled
from equinet.simulate.properties.start import check_crystal
from equinet.simulate.properties.symmetry import is_conventional

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EV_PER_A2_IN_J_PER_M2 = 16.02176634
"""1 eV/A^2 in J/m^2 (CODATA 2018, exact)."""

_SAME = 1e-4  # J/m^2: two cuts that differ by less are one
_GAP = 0.05  # Angstrom along the normal: atoms nearer than that are one plane


@dataclass(frozen=True)
class SurfaceSettings:
    """Of which surface, in which slabs.

    Attributes:
        miller: h, k, l, by the vectors of the cell given, without a common factor.
        thickness: of the first slab, Angstrom.
        max_thickness: where growing ends, Angstrom.
        tolerance: between two slabs, J/m^2: growing ends below it.
        fmax: of the relaxations, eV/Angstrom.
        max_steps: of each.
    """

    miller: tuple[int, int, int] = (1, 0, 0)
    thickness: float = 10.0
    max_thickness: float = 30.0
    tolerance: float = 0.01
    fmax: float = 1e-3
    max_steps: int = 1000

    def check(self) -> None:
        """Say what makes no sense.

        Raises:
            InputError: as said.
        """
        if not any(self.miller):
            raise InputError("Miller indices 0 0 0 are no plane; give three numbers that are not all 0")
        factor = math.gcd(*self.miller)
        if factor > 1:
            raise InputError(
                f"Miller indices {' '.join(map(str, self.miller))} have the common factor {factor}, and those of a "
                f"plane have none; give {' '.join(str(index // factor) for index in self.miller)}"
            )
        if not 0 < self.thickness < self.max_thickness < math.inf:
            raise InputError(
                f"slabs of {self.thickness:g} to {self.max_thickness:g} A make no sense; give --thickness below "
                "--max-thickness"
            )
        if not self.tolerance > 0:
            raise InputError(f"a tolerance of {self.tolerance:g} J/m^2 makes no sense; give one above 0")
        check_relaxation(self.fmax, self.max_steps)


@dataclass(frozen=True)
class Slab:
    """One slab.

    Attributes:
        layers: planes of the lattice.
        atoms: of the slab.
        thickness_a: layers times their distance.
        unrelaxed_j_per_m2: energy of the surface with atoms as in the crystal.
        relaxed_j_per_m2: energy of the surface, the cell in the plane being the crystal's.
    """

    layers: int
    atoms: int
    thickness_a: float
    unrelaxed_j_per_m2: float
    relaxed_j_per_m2: float


@dataclass(frozen=True)
class SurfaceResult:
    """The surface energy: half of what it costs to cut, so the mean of both sides where they differ.

    Attributes:
        miller: h, k, l.
        relaxed_j_per_m2: of the thickest slab.
        relaxed_mev_per_a2: the same.
        unrelaxed_j_per_m2: of the thickest slab.
        unrelaxed_mev_per_a2: the same.
        last_change_j_per_m2: of the relaxed energy, from the slab before.
        converged: whether that is below the tolerance.
        slabs: thin to thick.
        cuts_j_per_m2: unrelaxed, by height of the cut between planes of atoms as part of a layer: one for each
            different cut, the lowest first; that one is relaxed.
        area_a2: of the surface cell.
    """

    miller: tuple[int, int, int]
    relaxed_j_per_m2: float
    relaxed_mev_per_a2: float
    unrelaxed_j_per_m2: float
    unrelaxed_mev_per_a2: float
    last_change_j_per_m2: float
    converged: bool
    slabs: tuple[Slab, ...]
    cuts_j_per_m2: dict[float, float]
    area_a2: float


def surface_energy(
    atoms: Atoms,
    calculator: Any,
    settings: SurfaceSettings | None = None,
    on_step: Callable[[int], None] | None = None,
) -> SurfaceResult:
    """(E(slab) - N e(crystal)) / 2 A, for growing slabs of the cut that costs least.

    The slab has the composition of the crystal and is open along its normal: no vacuum, no images. Its cell in the
    plane is the smallest: a reconstruction that needs a larger one is not found.

    Args:
        atoms: a crystal without forces and stress, in the conventional cell; not changed. See ``starting_structure``.
        calculator: any ASE calculator.
        settings: None: the defaults.
        on_step: called with the number of slabs done.

    Raises:
        InputError: settings that make no sense; a relaxation that does not end.

    Warns:
        DataWarning: the energy still changes with the thickness; the cell is not the conventional one.
    """
    settings = settings or SurfaceSettings()
    settings.check()
    check_crystal(atoms)
    if is_conventional(atoms) is False:
        warnings.warn(
            "the cell is not the conventional one of its crystal: Miller indices are by the vectors of the cell given",
            DataWarning,
        )
    energy = float(calculator.get_property("energy", atoms)) / len(atoms)
    one = cut_slab(atoms, settings.miller, 1, 0.0)
    area = float(np.linalg.norm(np.cross(one.cell[0], one.cell[1])))
    spacing = atoms.get_volume() / area

    def cost(slab: Atoms) -> float:
        total = float(calculator.get_property("energy", slab))
        return (total - len(slab) * energy) / (2 * area) * EV_PER_A2_IN_J_PER_M2

    first = int(np.ceil(settings.thickness / spacing))
    cuts = {cut: cost(cut_slab(atoms, settings.miller, first, cut)) for cut in possible_cuts(atoms, settings.miller)}
    cuts = _different(cuts)
    cut = next(iter(cuts))
    step = max(1, round(3.0 / spacing))
    slabs: list[Slab] = []
    change = np.nan
    for layers in range(first, max(first + step, int(settings.max_thickness / spacing)) + 1, step):
        slab = cut_slab(atoms, settings.miller, layers, cut)
        what = f"the slab of {layers} layers, {layers * spacing:.1f} A"
        relaxed = settled(slab, calculator, settings.fmax, settings.max_steps, what)
        slabs.append(Slab(layers, len(slab), float(layers * spacing), cost(slab), cost(relaxed)))
        if on_step is not None:
            on_step(len(slabs))
        if len(slabs) > 1:
            change = slabs[-1].relaxed_j_per_m2 - slabs[-2].relaxed_j_per_m2
            if abs(change) < settings.tolerance:
                break
    last = slabs[-1]
    converged = bool(abs(change) < settings.tolerance)
    if not converged:
        warnings.warn(
            f"the surface energy still changes by {change:+.3f} J/m^2 at {last.thickness_a:.1f} A: the sides of "
            "the slab feel each other, or its relaxation found another structure; raise --max-thickness",
            DataWarning,
        )
    factor = 1e3 / EV_PER_A2_IN_J_PER_M2
    return SurfaceResult(
        miller=settings.miller,
        relaxed_j_per_m2=last.relaxed_j_per_m2,
        relaxed_mev_per_a2=last.relaxed_j_per_m2 * factor,
        unrelaxed_j_per_m2=last.unrelaxed_j_per_m2,
        unrelaxed_mev_per_a2=last.unrelaxed_j_per_m2 * factor,
        last_change_j_per_m2=float(change),
        converged=converged,
        slabs=tuple(slabs),
        cuts_j_per_m2=cuts,
        area_a2=area,
    )


def cut_slab(atoms: Atoms, miller: tuple[int, int, int], layers: int, cut: float) -> Atoms:
    """A slab of so many layers, periodic in its plane, that begins at a height given as a part of a layer."""
    slab = ase.build.surface(atoms, miller, layers + 1, periodic=False)
    heights = slab.positions[:, 2] - slab.positions[:, 2].min()
    area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
    low = cut * atoms.get_volume() / area - 1e-6
    slab = slab[(heights >= low) & (heights < low + layers * atoms.get_volume() / area)]
    slab.set_tags(np.zeros(len(slab), dtype=int))
    return slab


def possible_cuts(atoms: Atoms, miller: tuple[int, int, int]) -> list[float]:
    """Heights between planes of atoms, as parts of a layer, one for each plane, from below the lowest."""
    one = cut_slab(atoms, miller, 1, 0.0)
    spacing = atoms.get_volume() / float(np.linalg.norm(np.cross(one.cell[0], one.cell[1])))
    heights = np.sort(one.positions[:, 2] - one.positions[:, 2].min())
    gaps = np.diff(heights, append=spacing)  # the last is to the next layer
    middles = (heights + gaps / 2) / spacing
    middles[-1] -= 1
    return sorted(float(middle) for middle, gap in zip(middles, gaps, strict=True) if gap > _GAP)


def draw_surface(result: SurfaceResult, title: str = "") -> "Figure":
    """Surface energies over the thickness of the slab."""
    from equinet.simulate.panels import BLUE, ORANGE, panels

    figure, (axes,) = panels(1, width=5.0, height=3.6)
    thickness = [slab.thickness_a for slab in result.slabs]
    unrelaxed = [slab.unrelaxed_j_per_m2 for slab in result.slabs]
    relaxed = [slab.relaxed_j_per_m2 for slab in result.slabs]
    axes.plot(thickness, unrelaxed, "o--", color=ORANGE, fillstyle="none", label="unrelaxed")
    axes.plot(thickness, relaxed, "o-", color=BLUE, label=f"relaxed: {result.relaxed_j_per_m2:.3f} J/m²")
    axes.set(xlabel="thickness of the slab, Å", ylabel="surface energy, J/m²")
    middle, half = np.mean(unrelaxed + relaxed), max(np.ptp(unrelaxed + relaxed), 0.02 * max(unrelaxed))
    axes.set_ylim(middle - half, middle + half)  # rounding is not to look like a trend
    axes.margins(x=0.1)
    factor: Any = 1e3 / EV_PER_A2_IN_J_PER_M2
    per_area = axes.secondary_yaxis("right", functions=(lambda y: y * factor, lambda y: y / factor))
    per_area.set_ylabel("meV/Å²", fontsize=9)
    per_area.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _different(cuts: dict[float, float]) -> dict[float, float]:
    """One of each energy, the lowest first."""
    kept: dict[float, float] = {}
    for cut, cost in sorted(cuts.items(), key=lambda item: (round(item[1] / _SAME), item[0])):
        if not kept or cost - list(kept.values())[-1] > _SAME:
            kept[cut] = cost
    return kept
