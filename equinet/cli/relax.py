"""``equinet relax``: the nearest minimum, of one structure or of thousands at once."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinet.cli.options import (
    add_device_and_dtype,
    add_modal,
    add_model,
    natural_number,
    positive_integer,
    verb_parser,
)

if TYPE_CHECKING:
    from ase import Atoms

    from equinet.simulate.batched_relaxation import Relaxed, Settings
    from equinet.simulate.partial_output import PartialOutput

HELP = "relax positions, and with --cell the cell, to the nearest minimum"
DESCRIPTION = """Relax positions, and with --cell the cell, to the nearest minimum.

One structure relaxes in ASE. Several (more files, or --frame :) relax together in torch-sim, which they leave as they
are done and others enter; those that cannot be are named and left out, and the rest go on. The output has them in the
order of the input, with converged, steps, fmax (the largest force at the end, eV/A) and index (of the input, from 0) in
their info; until all are done it is OUT.partial, and killed, the same command with --resume goes on."""
EXAMPLE = """equinet relax model.safetensors start.extxyz --cell --fmax 0.01 -o relaxed.extxyz
  equinet relax model.safetensors starts.extxyz --frame : --cell -o relaxed.extxyz --resume"""


def main(argv: list[str]) -> int:
    """Run the verb; the exit code is 1, and the output kept, when forces stay above fmax or structures were left out.

    Raises:
        InputError: a model, a structure or an output that cannot be; forces beyond reason on the way of one alone.
    """
    arguments = _parser().parse_args(argv)

    from equinet.files import check_output, check_outputs

    check_output(arguments.output, (".extxyz", ".xyz"))
    check_outputs({"-o": arguments.output}, [arguments.model, *arguments.structures])

    from equinet.cli.structure import read_structures

    structures = read_structures(arguments.structures, arguments.frame)
    return _many(structures, arguments) if len(structures) > 1 else _one(structures[0], arguments)


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("relax", DESCRIPTION, EXAMPLE)
    add_model(parser)
    parser.add_argument(
        "structures", metavar="STRUCTURE", nargs="+", type=Path, help="the starts, in any format ASE reads"
    )
    parser.add_argument(
        "--frame", default="-1", metavar="I", help="of each file: a number, or : for all (default: -1, the last)"
    )
    parser.add_argument("--cell", action="store_true", help="relax the cell too (three periodic directions)")
    parser.add_argument("--keep-symmetry", action="store_true", help="keep the space group of the start; one by one")
    parser.add_argument(
        "--fmax", type=float, default=0.01, metavar="X", help="largest force at the end, eV/A (default: 0.01)"
    )
    parser.add_argument(
        "--max-steps", type=natural_number, default=500, metavar="N", help="give up after these (default: 500)"
    )
    parser.add_argument(
        "--optimizer",
        choices=("fire", "lbfgs", "bfgs"),
        default="fire",
        help="several structures: lbfgs and bfgs in batches with torch-sim 0.6, else one by one (default: fire)",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="an .extxyz file")
    parser.add_argument(
        "--max-atoms",
        type=positive_integer,
        metavar="N",
        help="atoms that relax at once, of several structures (default: what memory holds, measured; 1024 on a CPU)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with OUT.partial, if it is there; several structures"
    )
    parser.add_argument("--skip-bad", action="store_true", help="exit with 0 though structures were left out")
    add_modal(parser)
    add_device_and_dtype(parser)
    return parser


def _one(start: "tuple[str, Atoms]", arguments: argparse.Namespace) -> int:
    import ase.io

    from equinet.cli.progress import progress
    from equinet.cli.structure import check_usable
    from equinet.files import replacing
    from equinet.simulate.calculator import Calculator
    from equinet.simulate.relaxation import relax, relax_cell

    source, atoms = start
    calculator = Calculator(arguments.model, arguments.device, arguments.dtype, modal=arguments.modal)
    check_usable(calculator, atoms, source)
    method = relax_cell if arguments.cell else relax
    with progress("relaxing", arguments.max_steps) as done:
        found = method(
            atoms,
            calculator,
            arguments.fmax,
            arguments.max_steps,
            arguments.optimizer,
            on_step=lambda step, _: done(step),
            keep_symmetry=arguments.keep_symmetry,
        )
    end = found.atoms
    end.info |= {"converged": found.converged, "steps": found.steps, "fmax": found.largest_force}
    end.constraints = atoms.constraints
    with replacing(arguments.output) as partial:
        ase.io.write(partial, end, format="extxyz")
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


def _many(structures: "list[tuple[str, Atoms]]", arguments: argparse.Namespace) -> int:
    from equinet.files import sha256
    from equinet.models import available_device
    from equinet.simulate.batched_relaxation import Settings
    from equinet.simulate.checkpoint import digest
    from equinet.simulate.partial_output import PartialOutput

    settings = Settings(
        arguments.cell, arguments.fmax, arguments.max_steps, arguments.optimizer, arguments.keep_symmetry
    )
    identity = {
        "model": sha256(arguments.model),
        "input": digest([atoms for _, atoms in structures]),
        "modal": arguments.modal,
        "dtype": arguments.dtype,
        "settings": str(settings),
        "kind of device": available_device(arguments.device).type,
    }
    with PartialOutput(arguments.output, identity, arguments.resume) as output:
        _relax_all(structures, settings, output, arguments)
    position = output.position
    left_out = f"; {position.left_out} left out" if position.left_out else ""
    print(f"{position.written} structures: {arguments.output}{left_out}")
    if position.unfinished:
        sys.stderr.write(
            f"equinet: error: {position.unfinished} of {position.written} not converged: above --fmax "
            f"{arguments.fmax:g} after {arguments.max_steps} steps; {arguments.output} holds their last structures "
            "(converged=F), raise --max-steps\n"
        )
    return 1 if position.unfinished or (position.left_out and not arguments.skip_bad) else 0


def _relax_all(
    structures: "list[tuple[str, Atoms]]",
    settings: "Settings",
    output: "PartialOutput",
    arguments: argparse.Namespace,
) -> None:
    """Write what is not there yet, in order."""
    from equinet.cli.progress import progress

    begin = output.position
    waiting: dict[int, Relaxed] = {}
    following, left_out, unfinished = begin.frame, begin.left_out, begin.unfinished
    with progress("relaxing", len(structures)) as done:
        output.begin({})
        finished = following
        for end in _ends(structures, following, settings, arguments):
            if end.failure is not None:
                sys.stderr.write(f"equinet: warning: {structures[end.index][0]}: {end.failure}; left out\n")
            waiting[end.index] = end
            finished += 1
            done(finished)
            ready = []
            while following in waiting:
                ready.append(waiting.pop(following))
                following += 1
            good = [each for each in ready if each.failure is None]
            left_out += len(ready) - len(good)
            unfinished += sum(not each.converged for each in good)
            if good:
                output.append("".join(map(_text, good)), 0, following, len(good), left_out, unfinished)
    output.finish(left_out)


def _ends(
    structures: "list[tuple[str, Atoms]]", first: int, settings: "Settings", arguments: argparse.Namespace
) -> "Iterator[Relaxed]":
    """Relax the structures from one on, in batches where that can be; as they are done."""
    from equinet.cli.structure import torchsim_model
    from equinet.simulate.batched_relaxation import Relaxed, relax_in_batches, relax_one_by_one, why_one_by_one
    from equinet.simulate.budget import atoms_at_once
    from equinet.simulate.flaws import flaw_of
    from equinet.simulate.loading import ready_potential

    reason = why_one_by_one(settings)
    model: Any = None
    if reason is None:
        model = torchsim_model(arguments)
        potential = model.potential
    else:
        sys.stderr.write(f"equinet: warning: relaxing one by one: {reason}\n")
        potential = ready_potential(arguments.model, arguments.device, arguments.dtype, arguments.modal)
    usable = []
    for index in range(first, len(structures)):
        flaw = flaw_of(index, structures[index][1], potential)
        if flaw is None:
            usable.append((index, structures[index][1]))
        else:
            yield Relaxed(index, structures[index][1], False, 0, float("nan"), flaw.reason)
    alone = [(index, atoms) for index, atoms in usable if reason is not None or atoms.constraints]
    together = [(index, atoms) for index, atoms in usable if reason is None and not atoms.constraints]
    if alone and together:
        sys.stderr.write(
            f"equinet: warning: {len(alone)} of {len(usable)} structures have fixed atoms; these relax one by one\n"
        )
    if together:
        max_atoms = arguments.max_atoms or atoms_at_once(potential, [atoms for _, atoms in together])
        for end in relax_in_batches(together, model, settings, max_atoms):
            while alone and alone[0][0] < end.index:  # in turn, since the output is in order
                yield from relax_one_by_one([alone.pop(0)], potential, settings)
            yield end
    yield from relax_one_by_one(alone, potential, settings)


def _text(end: "Relaxed") -> str:
    from equinet.simulate.output import frame_text

    end.atoms.info |= {"converged": end.converged, "steps": end.steps, "fmax": end.largest_force, "index": end.index}
    return frame_text(end.atoms)
