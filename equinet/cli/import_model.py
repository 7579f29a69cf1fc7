"""``equinet import``: another package's trained potential as a model file of ours."""

import argparse
from pathlib import Path

from equinet.cli.options import verb_parser

HELP = "turn another package's trained potential into a model file"
DESCRIPTION = """Turn another package's trained potential into a model file: the same numbers, from an ordinary model
that can be tested, simulated with and trained further.

  sevennet   SevenNet (sevenn, MIT): a checkpoint, or 7net-0, 7net-l3i5, 7net-mf-0 from its installed package or from a
             wheel in the current folder (pip download --no-deps sevenn==0.13.0)

Checkpoints are read as tensors and plain values; no code in them runs. Licence and citation go into the model file:
'equinet info' shows them."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a checkpoint that cannot be read, or is of another architecture; an output that cannot be written.
    """
    parser = verb_parser("import", DESCRIPTION, "equinet import sevennet 7net-0 -o 7net-0.safetensors")
    parser.add_argument("package", metavar="PACKAGE", choices=("sevennet",), help="what wrote it: sevennet")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a file, or the name of a potential that is shipped")
    parser.add_argument("-o", "--output", metavar="MODEL", type=Path, required=True, help="a .safetensors file")
    parser.add_argument("--modal", metavar="NAME", help="of a potential that knows several levels of theory, one alone")
    arguments: argparse.Namespace = parser.parse_args(argv)

    from equinet.files import check_output, check_outputs

    check_output(arguments.output, (".safetensors",))
    check_outputs({"-o": arguments.output}, [arguments.checkpoint])

    from equinet.interop.sevennet import import_sevennet
    from equinet.models import save_model

    potential = import_sevennet(arguments.checkpoint, arguments.modal)
    save_model(potential, arguments.output)
    weights = sum(parameter.numel() for parameter in potential.parameters())
    print(f"{arguments.output}: {len(potential.species)} elements, cutoff {potential.cutoff:g} A, {weights} weights")
    if potential.modals:
        print(f"levels of theory: {', '.join(potential.modals)} (--modal NAME, wherever the model is used)")
    print(f"licence: {potential.provenance['licence']}")
    print(f"please cite: {potential.provenance['citation']}")
    return 0
