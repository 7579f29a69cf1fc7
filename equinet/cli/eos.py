"""``equinet eos``: energy over volume, equilibrium volume and bulk modulus."""

import argparse
from typing import TYPE_CHECKING

from equinet.cli.options import positive_integer
from equinet.cli.property_verb import begin, ion_relaxation, property_parser, settings_of

if TYPE_CHECKING:
    from equinet.simulate.properties.eos import EosResult

HELP = "energy over volume: equilibrium volume and bulk modulus"


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model, a structure or settings that cannot be; no minimum inside the range.
    """
    parser = property_parser(
        "eos",
        HELP[0].upper() + HELP[1:] + ". The crystal is strained uniformly; positions and shape of the\ncell are "
        "relaxed at each volume. The stress is compared with -dE/dV.",
        "equinet eos model.safetensors start.extxyz --relax cell -o eos",
    )
    parser.add_argument(
        "--range", type=float, default=0.06, metavar="X", help="to each side, part of the volume (default: 0.06)"
    )
    parser.add_argument("--points", type=positive_integer, default=11, metavar="N", help="volumes (default: 11)")
    parser.add_argument(
        "--relax-ions",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="relax positions and shape at each volume (default: yes)",
    )
    parser.add_argument("--vinet", action="store_true", help="fit Vinet's form beside that of Birch and Murnaghan")
    parser.add_argument("--fmax", type=float, metavar="X", help="at each volume, eV/A (default: 1e-4)")
    parser.add_argument("--max-steps", type=positive_integer, metavar="N", help="of each relaxation (default: 500)")
    arguments = parser.parse_args(argv)

    from equinet.cli.progress import progress
    from equinet.simulate.properties import starting_structure
    from equinet.simulate.properties.eos import EosSettings, draw_eos, equation_of_state
    from equinet.simulate.properties.report import write_report

    settings = EosSettings(
        arguments.range,
        arguments.points,
        arguments.relax_ions,
        ("birch-murnaghan", "vinet") if arguments.vinet else ("birch-murnaghan",),
        **ion_relaxation(arguments),
    )
    settings.check()
    calculator, atoms = begin(arguments)
    # the volume is what is looked for: only the forces must be gone
    atoms = starting_structure(atoms, calculator, arguments.relax, False, str(arguments.structure))
    with progress("straining", settings.points) as done:
        result = equation_of_state(atoms, calculator, settings, done)
    title = f"{atoms.get_chemical_formula(empirical=True)}, {arguments.model.stem}"
    paths = write_report(
        arguments.output,
        "eos",
        result,
        settings_of(arguments, vars(settings)),
        {"eos": lambda: draw_eos(result, title)},
    )
    _print(result)
    print(*paths, sep="\n")
    return 0


def _print(result: "EosResult") -> None:
    for fit in result.fits:
        print(
            f"{fit.form}: E0 {fit.energy_ev:.6f} eV, V0 {fit.volume_a3:.4f} A^3 ({fit.volume_per_atom_a3:.4f} "
            f"an atom), B0 {fit.bulk_modulus_gpa:.2f} GPa, B0' {fit.bulk_modulus_derivative:.3f}; "
            f"rms residual {fit.rms_residual_mev_per_atom:.2g} meV/atom"
        )
    print(
        f"stress against -dE/dV: {result.pressure_mismatch_gpa:.2g} GPa at most "
        f"(of up to {abs(result.energy_pressures_gpa).max():.3g}); against the curve's: "
        f"{result.fit_pressure_mismatch_gpa:.2g} GPa; B of the stress at V0: {result.local_bulk_modulus_gpa:.2f} GPa"
    )
