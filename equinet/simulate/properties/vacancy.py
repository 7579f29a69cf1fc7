"""What it costs to take an atom out of a crystal."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from equinet.errors import DataWarning, InputError
from equinet.simulate.properties.settle import check_relaxation, settled
from equinet.simulate.properties.start import check_crystal
from equinet.simulate.properties.symmetry import distinct_sites
from equinet.units import EV_PER_A3_IN_GPA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_CHANGE = 0.02
"""eV, between the two largest supercells: above it the energy is not that of a lone vacancy."""

LARGEST_OVERRIDE = 1e-3
"""eV, between a chemical potential given and an elemental crystal's own: above it the two are not the same phase."""


@dataclass(frozen=True)
class VacancySettings:
    """Of which vacancies, in which supercells.

    Attributes:
        sites: atoms of the cell to take out, from 0; None: one of each set of equivalent ones (with spglib).
        lengths: for each supercell, the smallest distance between its opposite faces, Angstrom.
        chemical_potentials_ev: eV per atom of the elements in their reference phases; of an elemental crystal it is its
            own energy per atom, unless given.
        fmax: of the relaxations, eV/Angstrom.
        max_steps: of each.
        rattle: rms displacement before the relaxation, Angstrom: atoms are not held on a saddle by symmetry.
        seed: of the rattle.
    """

    sites: tuple[int, ...] | None = None
    lengths: tuple[float, ...] = (8.0, 12.0)
    chemical_potentials_ev: Mapping[str, float] = field(default_factory=dict)
    fmax: float = 1e-3
    max_steps: int = 1000
    rattle: float = 0.01
    seed: int = 0

    def check(self, atoms: Atoms) -> None:
        """Say what makes no sense for a crystal.

        Raises:
            InputError: as said.
        """
        if not self.lengths or not all(0 < each < 200 for each in self.lengths):
            raise InputError(f"lengths {self.lengths} make no sense; give the sizes of supercells in Angstrom")
        present = dict.fromkeys(atoms.get_chemical_symbols())
        for element, value in self.chemical_potentials_ev.items():
            if element not in present:
                raise InputError(
                    f"a chemical potential is given of {element!r}, which is not in {atoms.get_chemical_formula()}; "
                    f"give --reference of {' and '.join(present)} alone"
                )
            if not np.isfinite(value):
                raise InputError(f"a chemical potential of {value} eV for {element} makes no sense; give a number")
        if not 0 <= self.rattle < 0.3:
            raise InputError(f"a rattle of {self.rattle:g} A makes no sense; give 0 to 0.3")
        check_relaxation(self.fmax, self.max_steps)


@dataclass(frozen=True)
class Vacancy:
    """One vacancy in one supercell.

    Attributes:
        site: atom of the cell given, from 0.
        element: taken out.
        repeats: cells of the supercell in each direction.
        atoms: of the supercell without vacancy.
        distance_a: to the nearest periodic image of the vacancy.
        unrelaxed_ev: formation energy with all other atoms in place.
        relaxed_ev: formation energy, in the same cell.
        largest_displacement_a: of an atom in the relaxation.
        pressure_gpa: of the relaxed supercell: what is left of its size.
    """

    site: int
    element: str
    repeats: tuple[int, int, int]
    atoms: int
    distance_a: float
    unrelaxed_ev: float
    relaxed_ev: float
    largest_displacement_a: float
    pressure_gpa: float


@dataclass(frozen=True)
class VacancyResult:
    """All of them.

    Attributes:
        vacancies: site by site, supercells from small to large.
        formation_energies_ev: by site, relaxed, in the largest supercell.
        size_changes_ev: by site, from the second largest supercell to the largest; NaN where there is one.
        chemical_potentials_ev: of the elements taken out, per atom.
    """

    vacancies: tuple[Vacancy, ...]
    formation_energies_ev: dict[int, float]
    size_changes_ev: dict[int, float]
    chemical_potentials_ev: dict[str, float]


def vacancy_energies(
    atoms: Atoms,
    calculator: Any,
    settings: VacancySettings | None = None,
    on_step: Callable[[int], None] | None = None,
) -> VacancyResult:
    """E(without the atom) + its chemical potential - E(with it), for each site, in growing supercells.

    Args:
        atoms: a crystal without forces and stress; not changed. See ``starting_structure``.
        calculator: any ASE calculator.
        settings: None: the defaults.
        on_step: called with the number of relaxations done.

    Raises:
        InputError: settings that make no sense, a site that is not there, no spglib and no site, an element without
            chemical potential in a compound, a chemical potential of an element that is not there, a relaxation that
            does not end.

    Warns:
        DataWarning: the energy still changes with the supercell; a chemical potential is not that of the elemental
            crystal itself.
    """
    settings = settings or VacancySettings()
    settings.check(atoms)
    check_crystal(atoms)
    sites = chosen_sites(atoms, settings.sites)
    energy = float(calculator.get_property("energy", atoms))
    potentials = chemical_potentials(atoms, energy, sites, settings.chemical_potentials_ev)
    found: list[Vacancy] = []
    for site in sites:
        for repeats in supercells(atoms, settings.lengths):
            potential = potentials[atoms[site].symbol]
            found.append(_vacancy(atoms, calculator, settings, site, repeats, energy, potential))
            if on_step is not None:
                on_step(len(found))
    by_site = {site: [each.relaxed_ev for each in found if each.site == site] for site in sites}
    changes = {site: values[-1] - values[-2] if len(values) > 1 else np.nan for site, values in by_site.items()}
    for site, change in changes.items():
        if abs(change) > LARGEST_CHANGE:
            warnings.warn(
                f"the vacancy at atom {site} changes by {change:+.3f} eV between the two largest supercells: vacancies "
                "still feel each other; give larger --lengths",
                DataWarning,
            )
    return VacancyResult(tuple(found), {site: values[-1] for site, values in by_site.items()}, changes, potentials)


def supercells(atoms: Atoms, lengths: Sequence[float]) -> list[tuple[int, int, int]]:
    """Repeats whose opposite faces are that far from each other, each once, from small to large."""
    heights = atoms.get_volume() / np.linalg.norm(np.cross(atoms.cell[[1, 2, 0]], atoms.cell[[2, 0, 1]]), axis=1)
    wanted = [np.ceil(length / heights - 1e-6).astype(int).clip(1) for length in sorted(lengths)]
    return list(dict.fromkeys((int(a), int(b), int(c)) for a, b, c in wanted))


def chosen_sites(atoms: Atoms, sites: Sequence[int] | None) -> list[int]:
    """The given atoms, or one of each set of equivalent ones.

    Raises:
        InputError: an atom that is not there; none given, and no spglib to find them.
    """
    if sites is not None:
        wrong = [site for site in sites if not 0 <= site < len(atoms)]
        if wrong:
            raise InputError(f"there is no atom {wrong[0]} in a cell of {len(atoms)}; give --site from 0")
        return list(dict.fromkeys(sites))
    found = distinct_sites(atoms)
    if found is None:
        raise InputError(
            "spglib is needed to tell which sites differ (pip install 'equinet-mlip[properties]'); or give them with "
            "--site"
        )
    return found


def chemical_potentials(
    atoms: Atoms, energy: float, sites: Sequence[int], given: Mapping[str, float]
) -> dict[str, float]:
    """eV per atom of each element that is taken out.

    Raises:
        InputError: a compound, and an element that is not given.

    Warns:
        DataWarning: that of an elemental crystal is given, and is not its own energy per atom.
    """
    elements = dict.fromkeys(atoms[site].symbol for site in sites)
    own = {atoms[0].symbol: energy / len(atoms)} if len(set(atoms.numbers)) == 1 else {}
    for element in own.keys() & given.keys():
        shift = given[element] - own[element]
        if abs(shift) > LARGEST_OVERRIDE:
            warnings.warn(
                f"the chemical potential of {element} is {given[element]:.4f} eV, as given, instead of the crystal's "
                f"own {own[element]:.4f} eV: formation energies change by {shift:+.4f} eV; leave --reference out for "
                "vacancies in equilibrium with this crystal",
                DataWarning,
            )
    missing = [element for element in elements if element not in own | dict(given)]
    if missing:
        raise InputError(
            f"the chemical potential of {missing[0]} in {atoms.get_chemical_formula()} is not known: give its "
            f"reference phase or its energy per atom (--reference {missing[0]}=FILE or {missing[0]}=EV)"
        )
    return {element: float((own | dict(given))[element]) for element in elements}


def draw_vacancies(result: VacancyResult, title: str = "") -> "Figure":
    """Formation energies over the size of the supercell."""
    from equinet.simulate.panels import COLORS, panels

    figure, (axes,) = panels(1, width=5.0, height=3.6)
    for color, (site, energy) in zip(COLORS * 9, result.formation_energies_ev.items(), strict=False):
        rows = [each for each in result.vacancies if each.site == site]
        counts = [each.atoms for each in rows]
        label = f"{rows[0].element}, atom {site}"
        relaxed, unrelaxed = [each.relaxed_ev for each in rows], [each.unrelaxed_ev for each in rows]
        axes.plot(counts, unrelaxed, "o--", color=color, fillstyle="none", label=f"{label}, unrelaxed")
        axes.plot(counts, relaxed, "o-", color=color, label=f"{label}, relaxed: {energy:.3f} eV")
    counts = sorted({each.atoms for each in result.vacancies})
    axes.set(xscale="log", xlabel="atoms in the supercell", ylabel="formation energy, eV")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.margins(x=0.15, y=0.2)
    axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _vacancy(
    atoms: Atoms,
    calculator: Any,
    settings: VacancySettings,
    site: int,
    repeats: tuple[int, int, int],
    energy: float,
    potential: float,
) -> Vacancy:
    whole = atoms.repeat(repeats)
    bulk = energy * int(np.prod(repeats)) - potential
    holed = whole.copy()
    del holed[site]
    unrelaxed = float(calculator.get_property("energy", holed)) - bulk
    rattled = holed.copy()
    rattled.positions += settings.rattle * np.random.default_rng(settings.seed).standard_normal((len(holed), 3))
    what = f"the vacancy at atom {site} in {len(whole)} atoms"
    relaxed = settled(rattled, calculator, settings.fmax, settings.max_steps, what)
    moved = relaxed.positions - holed.positions
    moved -= moved.mean(axis=0)  # the crystal as a whole may drift
    steps = np.array([each for each in np.ndindex(3, 3, 3) if each != (1, 1, 1)]) - 1
    return Vacancy(
        site=site,
        element=whole[site].symbol,
        repeats=repeats,
        atoms=len(whole),
        distance_a=float(np.linalg.norm(steps @ whole.cell.array, axis=1).min()),
        unrelaxed_ev=unrelaxed,
        relaxed_ev=float(relaxed.get_potential_energy()) - bulk,
        largest_displacement_a=float(np.linalg.norm(moved, axis=1).max()),
        pressure_gpa=-float(np.mean(relaxed.get_stress()[:3])) * EV_PER_A3_IN_GPA,
    )
