"""``equinet predict``: energies, forces and stresses for the structures of files and stores, of any number."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from equinet.cli.options import add_device_and_dtype, add_modal, add_model, positive_integer, refuse, verb_parser
from equinet.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from equinet.data import StructureSource
    from equinet.models import Potential
    from equinet.simulate.partial_output import PartialOutput
    from equinet.simulate.prediction import BatchSize, Predicted

HELP = "predict energies, forces and stresses for the structures of files"
DESCRIPTION = """Predict energies, forces and stresses for structures: of files in any format that ASE reads, of stores,
and of splits of stores (STORE:NAME). They are read as they are needed, so there may be millions.

The output has the same structures in the same order, with their info and arrays. Predictions are the calculator
results (energy, forces, and stress where periodic in three directions; elsewhere info has the virial in eV);
labels that stood there move to REF_energy, REF_forces, REF_stress.

Until all is done the output is OUT.partial. Killed, the same command with --resume goes on where it stopped, and the
file is the same, byte for byte, as if it had never been stopped."""
EXAMPLE = """equinet predict model.safetensors structures.extxyz -o predicted.extxyz
  equinet predict model.safetensors STORE:test more.extxyz -o predicted.extxyz --devices cuda:0,cuda:1 --resume"""
CPU_BATCH_SIZE = 32


@dataclass(frozen=True)
class Place:
    """Where a structure comes from; its text names it."""

    input: int
    frame: int
    path: Path

    def __str__(self) -> str:
        return f"{self.path}: frame {self.frame}"


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model, a structure or an output that cannot be; an unfinished output of something else.
    """
    arguments = _parser().parse_args(argv)

    from equinet.files import check_output, check_outputs

    if arguments.devices:
        refuse(arguments, ["device"], "--devices says where; leave one of them out")
    check_output(arguments.output, (".extxyz", ".xyz"))
    check_outputs({"-o": arguments.output}, [arguments.model, *arguments.data])

    from equinet.data import StructureSource
    from equinet.files import sha256
    from equinet.models import available_device, load_model, one_modal
    from equinet.simulate.partial_output import PartialOutput

    devices = arguments.devices or [arguments.device or "cpu"]
    potential = one_modal(load_model(arguments.model, devices[0], arguments.dtype), arguments.modal)
    sources = [StructureSource(path) for path in arguments.data]
    identity = {
        "model": sha256(arguments.model),
        "input": [source.checksum for source in sources],
        "modal": arguments.modal,
        "dtype": arguments.dtype,
        "batch size": arguments.batch_size,
        "kind of device": available_device(devices[0]).type,
    }
    with PartialOutput(arguments.output, identity, arguments.resume) as output:
        _predict(potential, sources, output, devices, arguments)
    position = output.position
    left_out = f"; {position.left_out} left out" if position.left_out else ""
    print(f"{position.written} structures: {arguments.output}{left_out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("predict", DESCRIPTION, EXAMPLE)
    add_model(parser)
    parser.add_argument("data", metavar="DATA", nargs="+", type=Path, help="structures: files, stores, STORE:NAME")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="an .extxyz file")
    parser.add_argument(
        "--batch-size",
        type=_batch_size,
        metavar="N",
        help="structures per batch, or auto: what fits into memory, which is measured (default: auto on a GPU, "
        f"{CPU_BATCH_SIZE} on a CPU, where small batches stay in its caches)",
    )
    add_modal(parser)
    add_device_and_dtype(parser)
    parser.set_defaults(device=None)  # to know whether it was given
    parser.add_argument(
        "--devices",
        metavar="LIST",
        type=lambda text: text.split(","),
        help="several that share the work, such as cuda:0,cuda:1; instead of --device",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with OUT.partial, or begin where neither it nor OUT is there"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out structures that cannot be predicted (an element that the model does not know, two atoms at one "
        "place), naming each, instead of stopping",
    )
    return parser


def _batch_size(text: str) -> int | Literal["auto"]:
    return "auto" if text == "auto" else positive_integer(text)


_batch_size.__name__ = "number above 0 or auto"  # argparse says: invalid number above 0 or auto value: '-3'


def _predict(
    potential: "Potential",
    sources: "Sequence[StructureSource]",
    output: "PartialOutput",
    devices: list[str],
    arguments: argparse.Namespace,
) -> None:
    """Write what is not there yet."""
    from equinet.cli.progress import progress
    from equinet.models.inference import BatchLimits
    from equinet.simulate.prediction import PredictionStream, StructureError

    begin = output.position
    bad: list[Place] = []

    def leave_out(place: Place, error: InputError) -> None:
        bad.append(place)
        sys.stderr.write(f"equinet: warning: {place}: {error}; left out\n")

    batch_size: BatchSize = arguments.batch_size
    if output.settings is not None:  # batches of other limits would differ in the last digits
        batch_size = BatchLimits(**output.settings)
    elif batch_size is None and not devices[0].startswith("cuda"):
        batch_size = CPU_BATCH_SIZE
    try:
        places = _places(sources, begin.input, begin.frame)
        on_bad = leave_out if arguments.skip_bad else None
        stream = PredictionStream(potential, places, batch_size, devices, on_bad)
        output.begin(asdict(stream.limits))
        with progress("predicting", _total(sources)) as done:
            for batch in stream:
                last: Place = batch[-1].key
                passed = sum((place.input, place.frame) < (last.input, last.frame) for place in bad)
                left_out = begin.left_out + passed
                output.append(_text(batch), last.input, last.frame + 1, len(batch), left_out)
                done(output.position.written + left_out)
    except StructureError as error:
        raise InputError(f"{error}; --skip-bad leaves such structures out") from error
    output.finish(begin.left_out + len(bad))


def _places(sources: "Sequence[StructureSource]", first: int, frame: int) -> "Iterator[tuple[Place, Atoms]]":
    """Structures of all inputs, from a frame of one of them on."""
    for number in range(first, len(sources)):
        for at, atoms in sources[number].frames(frame if number == first else 0):
            yield Place(number, at, sources[number].path), atoms


def _total(sources: "Sequence[StructureSource]") -> int | None:
    counts = [source.count for source in sources]
    return None if None in counts else sum(count for count in counts if count is not None)


def _text(batch: "list[Predicted]") -> str:
    """As extended XYZ."""
    from io import StringIO

    import ase.io

    from equinet.simulate.prediction import with_result

    text = StringIO()
    ase.io.write(text, [with_result(each.atoms, each.result) for each in batch], format="extxyz")
    return text.getvalue()
