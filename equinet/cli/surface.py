"""``equinet surface``: what it costs to cut a crystal."""

from typing import TYPE_CHECKING

from equinet.cli.options import positive_integer
from equinet.cli.property_verb import begin, property_parser, settings_of

if TYPE_CHECKING:
    from equinet.simulate.properties.surface import SurfaceResult

HELP = "energy of a surface of a crystal"
DESCRIPTION = """Energy of a surface of a crystal, relaxed and unrelaxed: slabs of the cut that costs least, made
thicker until the energy does not change. Miller indices are by the vectors of the cell given, so give the conventional
one. Reconstructions that need a larger cell in the plane are not found."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model, a structure or settings that cannot be.
    """
    parser = property_parser(
        "surface", DESCRIPTION, "equinet surface model.safetensors start.extxyz --miller 1 1 1 --relax cell -o surface"
    )
    parser.add_argument(
        "--miller", type=int, nargs=3, default=[1, 0, 0], metavar=("H", "K", "L"), help="(default: 1 0 0)"
    )
    parser.add_argument("--thickness", type=float, default=10.0, metavar="X", help="of the first slab, A (default: 10)")
    parser.add_argument("--max-thickness", type=float, default=30.0, metavar="X", help="of the last, A (default: 30)")
    parser.add_argument(
        "--tolerance", type=float, default=0.01, metavar="X", help="between two slabs, J/m^2 (default: 0.01)"
    )
    parser.add_argument("--fmax", type=float, default=1e-3, metavar="X", help="in each slab, eV/A (default: 1e-3)")
    parser.add_argument(
        "--max-steps", type=positive_integer, default=1000, metavar="N", help="of each relaxation (default: 1000)"
    )
    arguments = parser.parse_args(argv)

    from equinet.cli.progress import progress
    from equinet.simulate.properties import starting_structure
    from equinet.simulate.properties.report import write_report
    from equinet.simulate.properties.surface import SurfaceSettings, draw_surface, surface_energy

    h, k, l = arguments.miller
    settings = SurfaceSettings(
        (h, k, l),
        arguments.thickness,
        arguments.max_thickness,
        arguments.tolerance,
        arguments.fmax,
        arguments.max_steps,
    )
    settings.check()
    calculator, atoms = begin(arguments)
    atoms = starting_structure(atoms, calculator, arguments.relax, source=str(arguments.structure))
    with progress("relaxing slabs", None) as done:
        result = surface_energy(atoms, calculator, settings, done)
    title = f"{atoms.get_chemical_formula(empirical=True)} ({h} {k} {l}), {arguments.model.stem}"
    figures = {"surface": lambda: draw_surface(result, title)}
    paths = write_report(arguments.output, "surface", result, settings_of(arguments), figures)
    _print(result)
    print(*paths, sep="\n")
    return 0


def _print(result: "SurfaceResult") -> None:
    print(f"{'layers':>6}{'atoms':>7}{'thickness, A':>14}{'unrelaxed, J/m^2':>18}{'relaxed, J/m^2':>16}")
    for slab in result.slabs:
        print(
            f"{slab.layers:6}{slab.atoms:7}{slab.thickness_a:14.2f}{slab.unrelaxed_j_per_m2:18.4f}"
            f"{slab.relaxed_j_per_m2:16.4f}"
        )
    print(
        f"relaxed {result.relaxed_j_per_m2:.4f} J/m^2 = {result.relaxed_mev_per_a2:.3f} meV/A^2, unrelaxed "
        f"{result.unrelaxed_j_per_m2:.4f} J/m^2 = {result.unrelaxed_mev_per_a2:.3f} meV/A^2"
    )
    if len(result.cuts_j_per_m2) > 1:
        others = list(result.cuts_j_per_m2.values())[1:]
        print(f"other cuts, unrelaxed: {', '.join(f'{each:.3f}' for each in others)} J/m^2")
