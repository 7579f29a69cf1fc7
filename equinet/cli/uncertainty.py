"""``equinet uncertainty``: error bars for a model, or for a committee of models."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equinet.cli.options import (
    add_device_and_dtype,
    add_modal,
    add_seed,
    given,
    positive_integer,
    refuse,
    verb_parser,
)

if TYPE_CHECKING:
    from equinet.data import Record
    from equinet.models import Potential
    from equinet.uncertainty import FitSettings, Uncertainty

HELP = "make error bars for a model or a committee: energies, forces, what is outside the training data"
DESCRIPTION = """Make error bars for the energies and forces of one model, from the covariance of its last layer, or of
several that were trained apart (equinet train --committee), from how far they disagree; and a support for each atom,
above 1 where its environment is unlike those of the training data. Factors are fitted to the errors on calibration
frames, which must not be training frames; a hundred are enough, five the least.

The file goes with its models: equinet test MODEL DATA --uncertainty FILE judges it on other frames, and
equinet.Calculator(MODEL, uncertainty=FILE) has energy_std, forces_std and support."""
EXAMPLE = """equinet uncertainty model.safetensors --train train.extxyz --calibrate held_out.extxyz -o bars.safetensors
  equinet uncertainty runs/c/member-*/model.safetensors --train train.extxyz --calibrate held_out.extxyz"""

_LAST_LAYER = ("samples", "force_frames")
"""Options of one model alone."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: models, data or an output that cannot be; calibration frames that are training frames; options of
            one model with several.
    """
    parser = verb_parser("uncertainty", DESCRIPTION, EXAMPLE)
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", type=Path, help="a model file, or those of a committee's members"
    )
    parser.add_argument(
        "--train", metavar="DATA", nargs="+", type=Path, required=True, help="what the model was trained on"
    )
    parser.add_argument(
        "--calibrate", metavar="DATA", nargs="+", type=Path, required=True, help="labelled frames it has not seen"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        default=Path("uncertainty.safetensors"),
        help="(default: uncertainty.safetensors)",
    )
    parser.add_argument(
        "--samples",
        metavar="M",
        type=positive_integer,
        help="backward passes for the forces' error bars of one model; with as many as the last layer has weights they "
        "are exact (default: that, 32 at most)",
    )
    parser.add_argument(
        "--force-frames",
        metavar="N",
        type=positive_integer,
        help="training frames, drawn at random, whose forces enter the last layer's covariance of one model "
        "(default: 500)",
    )
    parser.add_argument(
        "--batch-size", type=positive_integer, default=8, metavar="N", help="structures per batch (default: 8)"
    )
    add_seed(parser)
    add_modal(parser)
    add_device_and_dtype(parser)
    arguments = parser.parse_args(argv)
    if len(arguments.models) > 1:
        refuse(
            arguments, _LAST_LAYER, "it is for the last layer of one model; a committee has the spread of its members"
        )

    from equinet.files import check_output, check_outputs

    check_output(arguments.output, (".safetensors",))
    check_outputs({"-o": arguments.output}, [*arguments.models, *arguments.train, *arguments.calibrate])

    from equinet.cli.progress import progress
    from equinet.simulate.loading import ready_potential
    from equinet.uncertainty import FitSettings, fit_uncertainty, save_uncertainty

    potentials = [
        ready_potential(model, arguments.device, arguments.dtype, arguments.modal) for model in arguments.models
    ]
    training, calibration = _records(arguments.train), _records(arguments.calibrate)
    _warn_of_other_data(potentials[0], arguments.train)
    settings = FitSettings(arguments.batch_size, seed=arguments.seed, **given(arguments, _LAST_LAYER))
    with progress("uncertainty", len(training) + len(calibration)) as done:
        names = [str(model) for model in arguments.models]
        uncertainty = fit_uncertainty(potentials, training, calibration, settings, done, names)
    uncertainty.facts.update(_facts(arguments, settings, len(training), len(calibration)))
    save_uncertainty(uncertainty, arguments.output, arguments.models)
    sys.stdout.write("\n".join(_summary(uncertainty, arguments)) + "\n")
    return 0


def _records(paths: Sequence[Path]) -> "list[Record]":
    from equinet.data.opening import open_records

    return [record for path in paths for record in open_records(path)]


def _warn_of_other_data(potential: "Potential", paths: Sequence[Path]) -> None:
    """Say so where the model's file tells of other training data."""
    import warnings

    from equinet.data.opening import checksum, open_records
    from equinet.errors import DataWarning

    told = (potential.provenance.get("data") or {}).get("train") or {}
    if told.get("sha256") and told["sha256"] not in [checksum(open_records(path), path) for path in paths]:
        warnings.warn(
            f"the model was trained on {told.get('file')}, and none of the --train files is that file; what it has not "
            "seen counts as known",
            DataWarning,
        )


def _facts(
    arguments: argparse.Namespace, settings: "FitSettings", training: int, calibration: int
) -> dict[str, object]:
    from equinet.files import content_sha256

    def of(paths: Sequence[Path]) -> list[dict[str, str]]:
        return [{"file": str(path), "sha256": content_sha256(path) if path.exists() else ""} for path in paths]

    return {
        "train": of(arguments.train),
        "calibrate": of(arguments.calibrate),
        "training_frames": training,
        "calibration_frames": calibration,
        "samples": settings.samples,
        "force_frames": settings.force_frames,
        "seed": arguments.seed,
    }


def _summary(uncertainty: "Uncertainty", arguments: argparse.Namespace) -> list[str]:
    from equinet.uncertainty.committee import Committee

    errors = uncertainty.errors
    kind = uncertainty.source.kind
    if len(uncertainty.source.potentials) > 1:
        kind += f" of {len(uncertainty.source.potentials)}"
    else:
        kind += f" of {arguments.models[0]}"
    facts = uncertainty.facts
    source = uncertainty.source
    apart = source.apart if isinstance(source, Committee) else ""
    return [
        f"{kind}: {facts['training_frames']} training frames, {facts['calibration_frames']} calibration frames, "
        f"on which the errors are {1000 * errors['energy_ev_per_atom']:.3g} meV/atom and "
        f"{1000 * errors['force_ev_per_angstrom']:.3g} meV/A (rms)",
        *([f"members are evaluated one by one, not at once: {apart}"] if apart else []),
        f"uncertainty: {arguments.output}; judge it on other frames: equinet test {arguments.models[0]} DATA "
        f"--uncertainty {arguments.output}",
    ]
