"""``equinet compile``: the production form of a model, with the error measured."""

from pathlib import Path

from equinet.cli.options import add_dtype, add_modal, add_model, add_seed, verb_parser

HELP = "make the fast form of a model, and measure how far it is from the original"
DESCRIPTION = """Make the fast form of a model: the same file format and the same numbers, for everything but training.

Radial networks become quintic splines of the distance, twice continuously differentiable where the original is,
evaluated inside the convolution: faster, and memory no longer grows with the number of edge weights. What depends on
the species alone becomes a table. In the first interval, a thirtieth of an Angstrom or less, splines are parabolas.

The number of intervals is the smallest with which random structures of the model's elements differ from the original by
less than 1e-6 eV/atom, 1e-5 eV/A and 1e-3 eV/A^2 (Hessian) in float64; in float32 the error may be twice the original's
own. What was measured is printed. If no number is enough, nothing is written.

Tables are rounded to the model's precision, so that energies have steps of that size at knots: to run in float64,
compile with --dtype float64."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model that cannot be read or compiled; limits that cannot be kept; an output that cannot be
            written.
    """
    parser = verb_parser("compile", DESCRIPTION, "equinet compile model.safetensors -o fast.safetensors")
    add_model(parser)
    parser.add_argument("-o", "--output", metavar="FAST", type=Path, required=True, help="a .safetensors file")
    add_seed(parser)
    add_modal(parser)
    add_dtype(parser)
    arguments = parser.parse_args(argv)

    from equinet.files import check_output, check_outputs

    check_output(arguments.output, (".safetensors",))
    check_outputs({"-o": arguments.output}, [arguments.model])

    from equinet.models import load_model, one_modal, save_model
    from equinet.models.compilation import compile_potential

    potential = one_modal(load_model(arguments.model, dtype=arguments.dtype), arguments.modal)
    made = compile_potential(potential, arguments.seed)
    save_model(made.potential, arguments.output)
    print(f"{arguments.output}: {made.intervals} spline intervals; measured on {made.structures} random structures:")
    double = made.double
    print(
        f"compiled from original, float64, at most    {double.energy:.1e} eV/atom  {double.forces:.1e} eV/A"
        f"  {double.hessian:.1e} eV/A^2"
    )
    for name, noise in (("compiled", made.single), ("original", made.original_single)):
        print(f"{name} in float32 from float64, rms       {noise.energy:.1e} eV       {noise.forces:.1e} eV/A")
    return 0
