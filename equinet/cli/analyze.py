"""``equinet analyze``: structure, diffusion, vibrations and conservation of energy from a trajectory."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from equinet.cli.options import existing_file, given, natural_number, positive_integer, refuse, verb_parser
from equinet.errors import InputError

HELP = "analyse a trajectory: radial distribution, diffusion, vibrations, energy drift"
DESCRIPTION = """Analyse a trajectory, with error bars: radial distribution functions and coordination numbers (--rdf),
mean square displacements and diffusion coefficients (--msd), the vibrational density of states from velocities
(--spectrum), and the drift of the energy (--drift).

Without any of these all are done that the file allows, and what is left out is said. Each writes NAME.json and
NAME.png. Trajectories: whatever ASE reads, and torch-sim's HDF5 (.h5, .hdf5, .h5md). Leave the first
part of a run, while it finds its balance, out with --start."""
EXAMPLE = """equinet analyze md.extxyz -o analysis --start 100
  equinet analyze run.h5 --timestep 1 --msd --fit 1 5"""

OPTIONS = {
    "rdf": {"rmax": "cutoff", "bin": "bin_width"},
    "msd": {"fit": "fit_ps", "viscosity": "viscosity_mpa_s", "temperature": "temperature_k"},
    "spectrum": {"correlation": "correlation_ps"},
    "drift": {"log": "log"},
}
"""Of each analysis, and the settings that they are."""


def main(argv: list[str]) -> int:
    """Run the verb: 0 when something was found.

    Raises:
        InputError: a trajectory that cannot be read; an analysis that was asked for, or all, cannot be done.
    """
    arguments = _parser().parse_args(argv)
    from equinet.cli.progress import progress
    from equinet.files import make_folder
    from equinet.simulate.analysis.analyze import ANALYSES, Settings, analyze, figures_of, summary
    from equinet.simulate.analysis.trajectory import Trajectory
    from equinet.simulate.properties.report import write_report

    asked = [name for name in ANALYSES if getattr(arguments, name)]
    _check(arguments, asked)
    trajectory = Trajectory(
        arguments.trajectory,
        arguments.start,
        arguments.stop,
        arguments.every,
        arguments.timestep,
        arguments.interval,
    )
    fields = {option: field for options in OPTIONS.values() for option, field in options.items()}
    chosen = {fields[option]: value for option, value in given(arguments, fields).items()}
    settings = Settings(**chosen | {"log": _log(arguments)})
    used = vars(arguments) | {option: getattr(settings, field) for option, field in fields.items()}
    make_folder(arguments.output)
    with progress("frames", None) as done:
        result = analyze(trajectory, settings, asked or ANALYSES, done)
    for name, reason in result.left_out.items():
        if asked or not result.found:
            raise InputError(f"no {name}: {reason}")
    print(f"{arguments.trajectory}: {result.frames} frames")
    paths = []
    for name, found in result.found.items():
        print("\n".join(summary(name, found)))
        paths += write_report(arguments.output, name, found, used, figures_of(name, found))
    for name, reason in result.left_out.items():
        print(f"{name}: left out: {reason}")
    print(", ".join(str(path) for path in paths))
    return 0


def _check(arguments: argparse.Namespace, asked: Sequence[str]) -> None:
    """Refuse options of analyses that are not done."""
    for name, options in OPTIONS.items():
        if asked and name not in asked:
            refuse(arguments, options, f"it is for --{name}, and you ask for --{' and --'.join(asked)} alone")
    if arguments.viscosity is None:
        refuse(arguments, ["temperature"], "it is for the correction that needs a --viscosity")


def _log(arguments: argparse.Namespace) -> Path | None:
    """The log beside the trajectory, of every step, where all frames are wanted."""
    if arguments.log is not None:
        return existing_file(arguments.log)
    beside: Path = arguments.trajectory.with_suffix(".csv")
    if arguments.start or arguments.stop is not None or arguments.every > 1 or not beside.is_file():
        return None
    from equinet.simulate.dynamics import COLUMNS

    with beside.open(encoding="utf-8", errors="replace") as file:
        return beside if file.readline().startswith(",".join(COLUMNS)) else None


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("analyze", DESCRIPTION, EXAMPLE)
    parser.add_argument("trajectory", metavar="TRAJECTORY", type=Path, help="the file")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("analysis"), metavar="FOLDER", help="(default: analysis)"
    )
    frames = parser.add_argument_group("frames")
    frames.add_argument("--start", type=natural_number, default=0, metavar="I", help="first frame (default: 0)")
    frames.add_argument(
        "--stop", type=natural_number, metavar="I", help="frame before which to stop (default: the end)"
    )
    frames.add_argument("--every", type=positive_integer, default=1, metavar="N", help="one frame in N (default: 1)")
    frames.add_argument("--timestep", type=float, metavar="FS", help="of the dynamics, fs, where the file has no times")
    frames.add_argument(
        "--interval", type=positive_integer, metavar="N", help="steps between frames, where it has no step numbers"
    )
    rdf = parser.add_argument_group("radial distribution")
    rdf.add_argument("--rdf", action="store_true", help="partial and total g(r), coordination numbers")
    rdf.add_argument(
        "--rmax", type=float, metavar="A", help="range (default: half the cell, from 6 to 10 A); images count beyond it"
    )
    rdf.add_argument("--bin", type=float, metavar="A", help="width of bins (default: 0.05)")
    msd = parser.add_argument_group("diffusion")
    msd.add_argument("--msd", action="store_true", help="mean square displacement and diffusion, by element")
    msd.add_argument(
        "--fit",
        type=float,
        nargs=2,
        metavar=("PS", "PS"),
        help="time differences to fit between (default: a fiftieth and a tenth of the trajectory)",
    )
    msd.add_argument(
        "--viscosity",
        type=float,
        metavar="MPA_S",
        help="mPa s: correct for the finite box (Yeh and Hummer, J. Phys. Chem. B 108, 15873, 2004)",
    )
    msd.add_argument("--temperature", type=float, metavar="K", help="for that correction (default: of the velocities)")
    spectrum = parser.add_argument_group("vibrations")
    spectrum.add_argument("--spectrum", action="store_true", help="velocity autocorrelation, density of states")
    spectrum.add_argument(
        "--correlation",
        type=float,
        metavar="PS",
        help="longest time of the autocorrelation; its inverse is the resolution (default: 2, or an eighth of the run)",
    )
    drift = parser.add_argument_group("conservation of energy")
    drift.add_argument("--drift", action="store_true", help="drift and fluctuation of the total energy")
    drift.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="log of equinet md, all of it (default: TRAJECTORY with .csv if there, of all frames; else the frames)",
    )
    return parser
