"""``equinet predict``: energies, forces and stresses for every structure of a file."""

from pathlib import Path

from equinet.cli.options import add_batch_size, add_device_and_dtype, add_modal, add_model, verb_parser
from equinet.errors import InputError

HELP = "predict energies, forces and stresses for the structures of a file"
DESCRIPTION = """Predict energies, forces and stresses for the structures of a file.

The output has the same structures in the same order, with their info and arrays. Predictions are the calculator
results (energy, forces, and stress where periodic in three directions; elsewhere info has the virial in eV);
labels that stood there move to REF_energy, REF_forces, REF_stress."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model, a structure or an output that cannot be.
    """
    parser = verb_parser(
        "predict", DESCRIPTION, "equinet predict model.safetensors structures.extxyz -o predicted.extxyz"
    )
    add_model(parser)
    parser.add_argument("data", metavar="DATA", type=Path, help="structures, in any format ASE reads")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="an .extxyz file")
    add_batch_size(parser)
    add_modal(parser)
    add_device_and_dtype(parser)
    arguments = parser.parse_args(argv)

    from equinet.files import check_output

    check_output(arguments.output, (".extxyz", ".xyz"))

    import ase.io

    from equinet.cli.progress import progress
    from equinet.data import read_atoms
    from equinet.files import replacing
    from equinet.models import load_model, one_modal
    from equinet.simulate.prediction import predict, with_result

    potential = one_modal(load_model(arguments.model, arguments.device, arguments.dtype), arguments.modal)
    structures = [atoms for _, atoms in read_atoms(arguments.data)]
    with progress("predicting", len(structures)) as done:
        try:
            results = predict(potential, structures, arguments.batch_size, done)
        except InputError as error:
            raise InputError(f"{arguments.data}: {error}") from error
    frames = [with_result(atoms, result) for atoms, result in zip(structures, results, strict=True)]
    with replacing(arguments.output) as partial:
        ase.io.write(partial, frames, format="extxyz")
    print(f"{len(frames)} structures: {arguments.output}")
    return 0
