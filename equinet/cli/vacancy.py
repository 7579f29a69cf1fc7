"""``equinet vacancy``: what it costs to take an atom out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinet.cli.options import natural_number, positive_integer
from equinet.cli.property_verb import begin, property_parser, settings_of
from equinet.errors import InputError

if TYPE_CHECKING:
    from equinet.simulate.properties.vacancy import VacancyResult

HELP = "formation energies of vacancies in a crystal"
DESCRIPTION = """Formation energies of vacancies in a crystal: E(without the atom) + its chemical potential - E(with
it), relaxed in the crystal's cell and unrelaxed, of each site that differs, in supercells of growing size. The chemical
potential of an elemental crystal is its energy per atom, unless --reference is given; a compound needs --reference."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model, a structure or settings that cannot be; no reference for an element of a compound.
    """
    parser = property_parser(
        "vacancy",
        DESCRIPTION,
        "equinet vacancy model.safetensors start.extxyz --relax cell -o vacancy\n"
        "  equinet vacancy model.safetensors sic.extxyz --relax cell --reference Si=si.extxyz C=-9.1",
    )
    parser.add_argument("--site", type=natural_number, nargs="+", metavar="I", help="atoms to take out, from 0")
    parser.add_argument(
        "--lengths",
        type=float,
        nargs="+",
        default=[8.0, 12.0],
        metavar="X",
        help="between opposite faces of each supercell at least, A (default: 8 12)",
    )
    parser.add_argument(
        "--reference",
        nargs="+",
        default=[],
        metavar="EL=FILE|EV",
        help="elemental crystal of an element, which is relaxed, or its energy per atom in eV",
    )
    parser.add_argument(
        "--fmax", type=float, default=1e-3, metavar="X", help="around the vacancy, eV/A (default: 1e-3)"
    )
    parser.add_argument(
        "--max-steps", type=positive_integer, default=1000, metavar="N", help="of each relaxation (default: 1000)"
    )
    arguments = parser.parse_args(argv)

    from equinet.cli.progress import progress
    from equinet.simulate.properties import starting_structure
    from equinet.simulate.properties.report import write_report
    from equinet.simulate.properties.vacancy import VacancySettings, draw_vacancies, vacancy_energies

    calculator, atoms = begin(arguments)
    settings = VacancySettings(
        None if arguments.site is None else tuple(arguments.site),
        tuple(arguments.lengths),
        {} if not arguments.reference else references(arguments.reference, calculator),
        arguments.fmax,
        arguments.max_steps,
    )
    settings.check(atoms)
    atoms = starting_structure(atoms, calculator, arguments.relax, source=str(arguments.structure))
    with progress("relaxing vacancies", None) as done:
        result = vacancy_energies(atoms, calculator, settings, done)
    title = f"vacancies in {atoms.get_chemical_formula(empirical=True)}, {arguments.model.stem}"
    figures = {"vacancy": lambda: draw_vacancies(result, title)}
    paths = write_report(arguments.output, "vacancy", result, settings_of(arguments), figures)
    _print(result)
    print(*paths, sep="\n")
    return 0


def references(texts: list[str], calculator: Any) -> dict[str, float]:
    """Chemical potentials, eV per atom, from EL=EV or EL=FILE; the crystal in the file is relaxed, cell included.

    Raises:
        InputError: neither; an element twice; a crystal of something else; what a relaxation raises.
    """
    from equinet.cli.structure import check_usable, read_structure
    from equinet.simulate.properties import starting_structure

    found = {}
    for text in texts:
        element, _, value = text.partition("=")
        if not (element and value):
            raise InputError(f"--reference {text!r} is neither EL=FILE nor EL=EV, such as Si=si.extxyz or Si=-5.4")
        if element in found:
            raise InputError(f"--reference: {element} is given twice; give each element once")
        try:
            found[element] = float(value)
        except ValueError:
            crystal = read_structure(Path(value))
            if set(crystal.get_chemical_symbols()) != {element}:
                raise InputError(
                    f"{value}: {crystal.get_chemical_formula()} is no crystal of {element} alone"
                ) from None
            check_usable(calculator, crystal, value)
            relaxed = starting_structure(crystal, calculator, "cell", source=value)
            found[element] = float(relaxed.get_potential_energy()) / len(relaxed)
    return found


def _print(result: "VacancyResult") -> None:
    print(f"{'site':>4} {'':2}{'atoms':>7}{'to its image, A':>17}{'unrelaxed, eV':>15}{'relaxed, eV':>13}")
    for each in result.vacancies:
        print(
            f"{each.site:4} {each.element:2}{each.atoms:7}{each.distance_a:17.2f}{each.unrelaxed_ev:15.4f}"
            f"{each.relaxed_ev:13.4f}"
        )
    for site, change in result.size_changes_ev.items():
        known = f"{change:+.4f} eV" if change == change else "unknown, there is one supercell"
        print(f"site {site}: change from the second largest supercell to the largest: {known}")
    given = ", ".join(f"{element} {value:.4f} eV" for element, value in result.chemical_potentials_ev.items())
    print(f"chemical potentials: {given}")
