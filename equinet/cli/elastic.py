"""``equinet elastic``: the elastic tensor and the moduli of a crystal."""

import argparse
from typing import TYPE_CHECKING

from equinet.cli.options import positive_integer
from equinet.cli.property_verb import begin, ion_relaxation, property_parser, settings_of

if TYPE_CHECKING:
    from equinet.simulate.properties.elastic import ElasticResult, ElasticTensor

HELP = "elastic tensor, moduli and stability of a crystal"
DESCRIPTION = """Elastic tensor, moduli and stability of a crystal: second Piola-Kirchhoff stress by Green-Lagrange
strain, central differences at several amplitudes. Both tensors are given: with relaxed ions (what an experiment
measures) and with clamped ions. Order xx yy zz yz xz xy; axes are the Cartesian ones of the cell given."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model, a structure or settings that cannot be; a structure that is not at its minimum.
    """
    parser = property_parser(
        "elastic", DESCRIPTION, "equinet elastic model.safetensors start.extxyz --relax cell -o elastic"
    )
    parser.add_argument(
        "--amplitudes",
        type=float,
        nargs="+",
        default=[0.001, 0.0025, 0.005],
        metavar="X",
        help="of the strains, both signs of each (default: 0.001 0.0025 0.005)",
    )
    parser.add_argument(
        "--relax-ions",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="the relaxed-ion tensor too (default: yes)",
    )
    parser.add_argument("--fmax", type=float, metavar="X", help="in each strained cell, eV/A (default: 1e-5)")
    parser.add_argument("--max-steps", type=positive_integer, metavar="N", help="of each relaxation (default: 500)")
    arguments = parser.parse_args(argv)

    from equinet.cli.progress import progress
    from equinet.simulate.properties import starting_structure
    from equinet.simulate.properties.elastic import ElasticSettings, elastic_tensor, strained_cells
    from equinet.simulate.properties.elastic_figure import draw_elastic
    from equinet.simulate.properties.report import write_report

    settings = ElasticSettings(tuple(arguments.amplitudes), arguments.relax_ions, **ion_relaxation(arguments))
    settings.check()
    calculator, atoms = begin(arguments)
    atoms = starting_structure(atoms, calculator, arguments.relax, source=str(arguments.structure))
    with progress("straining", strained_cells(settings)) as done:
        result = elastic_tensor(atoms, calculator, settings, done)
    title = f"{atoms.get_chemical_formula(empirical=True)}, {arguments.model.stem}"
    figures = {"elastic": lambda: draw_elastic(result, title)}
    paths = write_report(arguments.output, "elastic", result, settings_of(arguments, vars(settings)), figures)
    _print(result)
    print(*paths, sep="\n")
    return 0


def _print(result: "ElasticResult") -> None:
    kinds = {"relaxed ions": result.relaxed_ion, "clamped ions": result.clamped_ion}
    for kind, tensor in kinds.items():
        if tensor is not None:
            _print_tensor(kind, tensor)
    found = result.best.moduli
    print(f"{'GPa':10}{'Voigt':>10}{'Reuss':>10}{'Hill':>10}")
    print(f"{'bulk':10}{found.bulk_voigt_gpa:10.2f}{found.bulk_reuss_gpa:10.2f}{found.bulk_hill_gpa:10.2f}")
    print(f"{'shear':10}{found.shear_voigt_gpa:10.2f}{found.shear_reuss_gpa:10.2f}{found.shear_hill_gpa:10.2f}")
    print(
        f"{'Young':30}{found.young_hill_gpa:10.2f}   {found.young_min_gpa:.2f} to {found.young_max_gpa:.2f} "
        "by direction"
    )
    print(f"Poisson {found.poisson_hill:.4f}, universal anisotropy {found.universal_anisotropy:.4f}")
    verdict = "stable" if found.stable else "UNSTABLE"
    print(f"{verdict}: Kelvin moduli {' '.join(f'{each:.2f}' for each in found.kelvin_moduli_gpa)} GPa")


def _print_tensor(kind: str, tensor: "ElasticTensor") -> None:
    print(
        f"{kind}, GPa; asymmetry {tensor.asymmetry_gpa:.2g} GPa, moduli change by {100 * tensor.nonlinearity:.2g} % "
        "with the amplitude"
    )
    for row in tensor.stiffness_gpa:
        print("".join(f"{each + 0.0:10.2f}" for each in row.round(2)))
