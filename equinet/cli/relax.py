"""``equinet relax``: the nearest minimum."""

import sys
from pathlib import Path

from equinet.cli.options import add_device_and_dtype, add_modal, add_model, natural_number, verb_parser

HELP = "relax positions, and with --cell the cell, to the nearest minimum"


def main(argv: list[str]) -> int:
    """Run the verb. The output is kept, and the exit code 1, when the forces did not fall below fmax.

    Raises:
        InputError: a model, a structure or an output that cannot be; forces beyond reason on the way.
    """
    parser = verb_parser(
        "relax",
        HELP[0].upper() + HELP[1:] + ".",
        "equinet relax model.safetensors start.extxyz --cell --fmax 0.01 -o relaxed.extxyz",
    )
    add_model(parser)
    parser.add_argument("structure", metavar="STRUCTURE", type=Path, help="the start, in any format ASE reads")
    parser.add_argument("--cell", action="store_true", help="relax the cell too (three periodic directions)")
    parser.add_argument(
        "--fmax", type=float, default=0.01, metavar="X", help="largest force at the end, eV/A (default: 0.01)"
    )
    parser.add_argument(
        "--max-steps", type=natural_number, default=500, metavar="N", help="give up after these (default: 500)"
    )
    parser.add_argument("--optimizer", choices=("fire", "bfgs"), default="fire", help="(default: fire)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="an .extxyz file")
    parser.add_argument("--frame", default="-1", metavar="I", help="of the structure file (default: -1, the last)")
    add_modal(parser)
    add_device_and_dtype(parser)
    arguments = parser.parse_args(argv)

    from equinet.files import check_output

    check_output(arguments.output, (".extxyz", ".xyz"))

    import ase.io

    from equinet.cli.progress import progress
    from equinet.cli.structure import check_usable, read_structure
    from equinet.files import replacing
    from equinet.simulate.calculator import Calculator
    from equinet.simulate.relaxation import relax, relax_cell

    calculator = Calculator(arguments.model, arguments.device, arguments.dtype, modal=arguments.modal)
    atoms = read_structure(arguments.structure, arguments.frame)
    check_usable(calculator, atoms, arguments.structure)
    method = relax_cell if arguments.cell else relax
    with progress("relaxing", arguments.max_steps) as done:
        found = method(
            atoms,
            calculator,
            arguments.fmax,
            arguments.max_steps,
            arguments.optimizer,
            on_step=lambda step, _: done(step),
        )
    with replacing(arguments.output) as partial:
        ase.io.write(partial, found.atoms, format="extxyz")
    print(
        f"{found.steps} steps, largest force {found.largest_force:.2e} eV/A, energy {found.energy:.6f} eV: "
        f"{arguments.output}"
    )
    if not found.converged:
        sys.stderr.write(
            f"equinet: error: not converged: the largest force is {found.largest_force:.2e} eV/A after {found.steps} "
            f"steps, above --fmax {arguments.fmax:g}; {arguments.output} holds the last structure, raise --max-steps\n"
        )
        return 1
    return 0
