"""``equinet select``: the frames worth labelling."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equinet.cli.options import (
    add_batch_size,
    add_device_and_dtype,
    add_modal,
    add_model,
    add_seed,
    positive_integer,
    verb_parser,
)
from equinet.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from equinet.uncertainty import Selection, Uncertainty

HELP = "choose the frames worth labelling: those of which the model is unsure, and which differ"
DESCRIPTION = """Choose the frames worth labelling from trajectories, for active learning: frames of which the model is
unsure, and which differ from each other and from what it knows. The next one is that whose force error bar times
distance, in the model's features, to the nearest frame labelled or chosen is the largest.

Frames that exploded, that the model cannot take or that it was made of are left out, and said. The output has no
labels; info says where each frame is from, its rank and its error bars. Label it, and train on it too."""
EXAMPLE = """equinet select model.safetensors runs/*.extxyz --uncertainty bars.safetensors --labelled train.extxyz \\
      -n 25 -o label.extxyz"""
SUFFIXES = (".extxyz", ".xyz", ".traj")
STALE = ("momenta", "masses", "forces_std", "support", "energy_std", "stress_std")
"""Of a frame as dynamics left it; not of the structure."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model, an uncertainty, frames or an output that cannot be; no frame worth labelling.
    """
    arguments = _parser().parse_args(argv)

    from equinet.files import check_output, check_outputs

    for output, suffixes in ((arguments.output, SUFFIXES), (arguments.figure, (".png",))):
        if output is not None:
            check_output(output, suffixes)
    frames = [file for path in (*arguments.frames, *arguments.labelled) for file in _files(path)]
    check_outputs(
        {"-o": arguments.output, "--figure": arguments.figure}, [arguments.model, arguments.uncertainty, *frames]
    )

    from equinet.cli.progress import progress
    from equinet.simulate.loading import ready_potential
    from equinet.uncertainty import load_uncertainty, select_frames
    from equinet.uncertainty.selection import LabelledError

    potential = ready_potential(arguments.model, arguments.device, arguments.dtype, arguments.modal)
    uncertainty = load_uncertainty(arguments.uncertainty, potential)
    pool, labelled = _Frames(arguments.frames), _Frames(arguments.labelled)
    with progress("looking at frames", None) as done:
        try:
            selection = select_frames(
                uncertainty,
                pool,
                arguments.number,
                by=arguments.by,
                labelled=labelled,
                least_std=arguments.min_std,
                most_std=arguments.max_std,
                seed=arguments.seed,
                batch_size=arguments.batch_size,
                progress=done,
            )
        except LabelledError as error:
            raise InputError(f"{labelled.name(error.index)}: {error.reason}") from error
    lines = _warnings(selection, pool, arguments)
    if not selection.chosen:
        raise InputError(f"none of {len(pool.places)} frames is chosen: {'; '.join(lines)}")
    for line in lines:
        sys.stderr.write(f"equinet: warning: {line}\n")
    _write(selection, pool, arguments.output)
    if arguments.figure is not None:
        from equinet.uncertainty.selection_figure import draw_selection

        draw_selection(selection, arguments.figure)
    sys.stdout.write("\n".join(_summary(selection, uncertainty, arguments)) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("select", DESCRIPTION, EXAMPLE)
    add_model(parser)
    parser.add_argument(
        "frames",
        metavar="FRAMES",
        nargs="+",
        type=Path,
        help="trajectories (extxyz, HDF5) and other files that equinet reads, stores, folders of equinet md",
    )
    parser.add_argument(
        "--uncertainty",
        metavar="FILE",
        type=Path,
        required=True,
        help="of the model, made by equinet uncertainty; for --by farthest and random too, whose limits it has",
    )
    parser.add_argument("-n", "--number", type=positive_integer, required=True, metavar="N", help="frames wanted")
    parser.add_argument(
        "-o", "--output", metavar="OUT", type=Path, required=True, help="the chosen frames: .extxyz or .traj"
    )
    parser.add_argument(
        "--labelled",
        metavar="DATA",
        nargs="+",
        type=Path,
        default=[],
        help="frames that have labels: what is chosen differs from them too",
    )
    parser.add_argument(
        "--by",
        choices=("uncertainty", "farthest", "random"),
        default="uncertainty",
        help="uncertainty: uncertain and diverse; farthest: diverse alone; random (default: uncertainty)",
    )
    parser.add_argument(
        "--min-std",
        type=float,
        default=0.0,
        metavar="X",
        help="frames whose largest error bar of a force component is smaller are not worth it, eV/A (default: 0)",
    )
    parser.add_argument(
        "--max-std",
        type=float,
        default=float("inf"),
        metavar="X",
        help="frames whose largest error bar of a force component is larger have gone astray, eV/A (default: no limit)",
    )
    parser.add_argument("--figure", metavar="FILE", type=Path, help="PNG: the candidates, and which were chosen")
    add_batch_size(parser)
    add_seed(parser)
    add_modal(parser)
    add_device_and_dtype(parser)
    return parser


class _Frames:
    """Frames of files one after the other, any number of times; remembers where each is from."""

    def __init__(self, paths: Sequence[Path]) -> None:
        from equinet.data import StructureSource

        self.sources: list[StructureSource] = [StructureSource(each) for path in paths for each in _files(path)]
        self.places: list[tuple[int, int]] = []
        """Source and frame of each."""

    def __iter__(self) -> "Iterator[Atoms]":
        self.places = []
        for number, source in enumerate(self.sources):
            for frame, atoms in source.frames():
                self.places.append((number, frame))
                yield atoms

    def name(self, index: int) -> str:
        """Of a frame, for messages."""
        source, frame = self.places[index]
        return f"{self.sources[source].path}: frame {frame}"

    def read(self, indices: "Sequence[int]") -> "dict[int, Atoms]":
        """Some of them again."""
        wanted: dict[int, dict[int, int]] = {}
        for index in indices:
            source, frame = self.places[index]
            wanted.setdefault(source, {})[frame] = index
        found = {}
        for source, frames in wanted.items():
            for frame, atoms in self.sources[source].frames(min(frames)):
                if frame in frames:
                    found[frames[frame]] = atoms
                if frame >= max(frames):
                    break
        return found


def _files(path: Path) -> list[Path]:
    """A file or a store as it is; of a folder that dynamics left, the trajectories of the run in its summary."""
    import warnings

    from equinet.data.opening import is_store
    from equinet.errors import DataWarning
    from equinet.simulate.trajectory_folder import SUMMARY, trajectories_of

    if not path.is_dir() or is_store(path):
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in (*SUFFIXES, ".h5"))
    own = trajectories_of(path)
    if own is None:
        return files or [path]
    if not own:
        raise InputError(f"{path} has no trajectory of the run in its {SUMMARY}; name the files to choose from")
    if others := [file.name for file in files if file not in own]:
        warnings.warn(
            f"{path}: {len(others)} of {len(files)} files are not of the run in its {SUMMARY} and are not read, the "
            f"first of them {others[0]}; name them to choose from them too",
            DataWarning,
        )
    return own


def _write(selection: "Selection", pool: _Frames, output: Path) -> None:
    """The chosen frames, in order, without labels."""
    import ase.io

    from equinet.data.keys import may_be_label
    from equinet.files import replacing

    read = pool.read([each.index for each in selection.chosen])
    frames, candidates = [], selection.candidates
    for rank, each in enumerate(selection.chosen, 1):
        frame = read[each.index]
        frame.calc = None
        for place in (frame.info, frame.arrays):
            for key in [key for key in place if may_be_label(key) or key in STALE]:
                del place[key]
        source, number = pool.places[each.index]
        frame.info |= {"source": str(pool.sources[source].path), "source_frame": number, "rank": rank}
        for name in ("forces_std_max", "energy_std", "support_max"):
            frame.info[name] = float(getattr(candidates, name)[each.row])
        frames.append(frame)
    with replacing(output) as partial:
        ase.io.write(partial, frames, format="traj" if output.suffix == ".traj" else "extxyz")


def _warnings(selection: "Selection", pool: _Frames, arguments: argparse.Namespace) -> list[str]:
    lines = []
    for each in selection.left_out:
        frames = "1 frame" if each.count == 1 else f"{each.count} frames"
        detail = f": {each.detail}" if each.detail else ""
        lines.append(f"{frames} left out for {each.reason}; the first is {pool.name(each.first)}{detail}")
    if len(selection.chosen) < arguments.number:
        total = len(selection.candidates.index)
        why = "the others are all but equal to these or to labelled ones"
        if selection.eligible < min(total, arguments.number):
            limits = f"--min-std {arguments.min_std:g}, --max-std {arguments.max_std:g}"
            why = f"the error bars of {total - selection.eligible} are not within the limits ({limits})"
        elif total < arguments.number:
            why = "there are no more"
        lines.append(f"{len(selection.chosen)} of {arguments.number} frames found, of {total}: {why}")
    return lines


def _summary(selection: "Selection", uncertainty: "Uncertainty", arguments: argparse.Namespace) -> list[str]:
    import numpy as np

    std, outside = selection.candidates.forces_std_max, selection.candidates.support_max > 1.0
    rows = np.array([each.row for each in selection.chosen])
    bars = f"{std[rows].min():.3g} to {std[rows].max():.3g}"
    if len(std) > len(rows):
        left = np.delete(std, rows)
        bars += f"; of those left {np.median(left):.3g} in the median, {left.max():.3g} at most"
    known = uncertainty.errors["force_ev_per_angstrom"]
    return [
        f"{len(rows)} of {len(std)} frames chosen ({selection.by}): {arguments.output}",
        f"largest error bar of a force component, eV/A: {bars} (errors on the calibration frames: {known:.3g}, rms)",
        f"with atoms outside the training data: {outside[rows].sum()} of the {len(rows)}, {outside.sum()} of all",
    ]
