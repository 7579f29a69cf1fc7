"""``equinet md``: molecular dynamics of one structure, or of thousands at once."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinet.cli.options import (
    add_device_and_dtype,
    add_modal,
    add_model,
    add_seed,
    given,
    positive_integer,
    refuse,
    verb_parser,
)
from equinet.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from equinet.simulate.ensembles import Ensemble
    from equinet.simulate.tally import SystemRun
    from equinet.simulate.watch import GuardSettings
    from equinet.uncertainty import Uncertainty

HELP = "run molecular dynamics: constant energy (nve), temperature (nvt) or pressure (npt)"
DESCRIPTION = """Run molecular dynamics at constant energy (velocity Verlet), temperature (Langevin, Bussi or
Nose-Hoover), or temperature and pressure (one of these thermostats and stochastic rescaling of the cell).

One structure runs in ASE and gives a trajectory. Several (more files, or --frame :) run together in torch-sim, and
give a folder with a trajectory each and summary.json; one that cannot be or that explodes is named, and the rest go on.

Killed, the same command with --resume goes on from the last checkpoint, and ends as if it had never been stopped, bit
for bit.

With --uncertainty, a file of equinet uncertainty, a guard looks at the error bars of all structures: it stops those
that are beyond a limit, and the others go on; or it warns, or saves the frame for labelling."""
EXAMPLE = """equinet md model.safetensors start.extxyz --temperature 300 --timestep 0.5 --steps 2000 -o run.extxyz
  equinet md model.safetensors starts.extxyz --frame : --ensemble npt --thermostat bussi --temperature 300 \\
      --pressure 1 --timestep 1 --steps 20000 -o runs"""


def main(argv: list[str]) -> int:
    """Run the verb. With several structures the exit code is 1 when one was left out or stopped.

    Raises:
        InputError: a model, a structure or an output that cannot be; dynamics of a structure alone that explode, or
            that a guard stops; nothing to go on from.
    """
    arguments = _parser().parse_args(argv)

    from equinet.cli.structure import read_structures
    from equinet.files import check_outputs
    from equinet.simulate.ensembles import Ensemble
    from equinet.simulate.output import TRAJECTORY_SUFFIXES

    ensemble = Ensemble(
        arguments.ensemble, arguments.timestep, arguments.temperature, seed=arguments.seed, **_constants(arguments)
    )
    outputs = {"-o": arguments.output, "--log": _log(arguments), "--guard-output": arguments.guard_output}
    check_outputs(outputs, [arguments.model, arguments.uncertainty, *arguments.structures])
    structures = read_structures(arguments.structures, arguments.frame)
    if len(structures) > 1 and arguments.output.suffix in TRAJECTORY_SUFFIXES:
        raise InputError(
            f"{len(structures)} structures give a folder of trajectories, not {arguments.output}; name one with -o, or "
            "choose a structure with --frame"
        )
    guard = _guard(arguments)
    if len(structures) > 1 or not arguments.output.suffix:
        return _many(structures, ensemble, guard, arguments)
    return _one(structures[0], ensemble, guard, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("md", DESCRIPTION, EXAMPLE)
    add_model(parser)
    parser.add_argument(
        "structures", metavar="STRUCTURE", nargs="+", type=Path, help="the starts, in any format ASE reads"
    )
    parser.add_argument(
        "--frame", default="-1", metavar="I", help="of each file: a number, or : for all (default: -1, the last)"
    )
    parser.add_argument("--ensemble", choices=("nve", "nvt", "npt"), default="nve", help="(default: nve)")
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="K",
        help="of the random velocities at the start, and of the bath (nve without it: velocities of the file)",
    )
    parser.add_argument(
        "--thermostat",
        choices=("langevin", "bussi", "nose-hoover"),
        help="of nvt and npt (default: langevin)",
    )
    parser.add_argument("--pressure", type=float, metavar="GPA", help="of npt, GPa (default: 0)")
    parser.add_argument(
        "--barostat",
        choices=("isotropic", "flexible"),
        help="of npt: the volume alone, or lengths and angles of the cell, for solids (default: isotropic)",
    )
    parser.add_argument("--timestep", type=float, required=True, metavar="FS", help="time step, fs")
    parser.add_argument("--steps", type=positive_integer, required=True, metavar="N", help="number of steps")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="trajectory, .extxyz or .traj; of several: a folder",
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="CSV of every step (default: OUT with .csv)")
    parser.add_argument(
        "--format",
        choices=("extxyz", "hdf5"),
        help="of the trajectories in a folder; hdf5 is torch-sim's HDF5 (default: extxyz)",
    )
    parser.add_argument(
        "--interval", type=positive_integer, default=10, metavar="N", help="steps between frames (default: 10)"
    )
    parser.add_argument("--friction", type=float, metavar="X", help="of the Langevin bath, 1/fs (default: 0.01)")
    parser.add_argument("--thermostat-time", type=float, metavar="FS", help="of the other baths, fs (default: 100)")
    parser.add_argument("--barostat-time", type=float, metavar="FS", help="in which the volume relaxes (default: 1000)")
    parser.add_argument(
        "--compressibility", type=float, metavar="X", help="1/GPa, for the barostat (default: measured at the start)"
    )
    parser.add_argument(
        "--checkpoint",
        type=positive_integer,
        default=1000,
        metavar="N",
        help="steps between checkpoints (default: 1000)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint, if there is one")
    parser.add_argument(
        "--max-atoms",
        type=positive_integer,
        metavar="N",
        help="atoms that move at once, of several structures (default: what memory holds, measured; 1024 on a CPU)",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="exit with 0 though structures were left out or stopped"
    )
    guard = parser.add_argument_group("guard")
    guard.add_argument("--uncertainty", type=Path, metavar="FILE", help="error bars of the model, for a guard")
    guard.add_argument(
        "--guard", choices=("stop", "warn", "save"), help="what it does where a limit is passed (default: stop)"
    )
    guard.add_argument(
        "--guard-interval", type=positive_integer, metavar="N", help="steps between its looks (default: --interval)"
    )
    guard.add_argument("--max-support", type=float, metavar="X", help="1 is the edge of the training data (default: 1)")
    guard.add_argument("--max-force-std", type=float, metavar="X", help="of a force component, eV/A (default: none)")
    guard.add_argument(
        "--guard-output",
        type=Path,
        metavar="FILE",
        help="frames beyond a limit, 100 steps apart or more, of all structures: .extxyz or .traj",
    )
    add_seed(parser)
    add_modal(parser)
    add_device_and_dtype(parser)
    return parser


def _constants(arguments: argparse.Namespace) -> dict[str, Any]:
    """Thermostat and barostat as they were given; what the ensemble has none of is refused."""
    bath = ["thermostat", "friction", "thermostat_time"]
    cell = ["pressure", "barostat", "barostat_time", "compressibility"]
    if arguments.ensemble == "nve":
        refuse(arguments, bath, "nve has no thermostat; say --ensemble nvt or npt, or leave it out")
    if arguments.ensemble != "npt":
        refuse(arguments, cell, f"{arguments.ensemble} keeps the cell; say --ensemble npt, or leave it out")
    if arguments.thermostat in (None, "langevin"):
        refuse(arguments, ["thermostat_time"], "the Langevin thermostat has a --friction")
    else:
        refuse(arguments, ["friction"], f"the {arguments.thermostat} thermostat has a --thermostat-time")
    return given(arguments, [*bath, *cell])


def _log(arguments: argparse.Namespace) -> Path:
    return arguments.log or arguments.output.with_suffix(".csv")


def _guard(arguments: argparse.Namespace) -> "GuardSettings | None":
    from equinet.simulate.watch import GuardSettings

    settings = {
        "action": arguments.guard,
        "support": arguments.max_support,
        "forces_std": arguments.max_force_std,
        "file": arguments.guard_output,
        "interval": arguments.guard_interval,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    if arguments.uncertainty is not None:
        return GuardSettings(**settings)
    if settings:
        raise InputError("a guard needs error bars: name a file of equinet uncertainty with --uncertainty")
    return None


def _made_of(arguments: argparse.Namespace, uncertainty: "Uncertainty | None") -> str:
    """What the forces come from: of a committee, all its members."""
    from equinet.files import sha256

    own = f"{sha256(arguments.model)} {arguments.dtype} {arguments.modal}"
    if uncertainty is None or len(uncertainty.source.potentials) == 1:
        return own
    return f"{own} {sha256(arguments.uncertainty)}"


def _one(
    start: "tuple[str, Atoms]", ensemble: "Ensemble", guard: "GuardSettings | None", arguments: argparse.Namespace
) -> int:
    refuse(arguments, ["format", "max_atoms", "skip_bad"], "it is for several structures, with a folder for -o")

    from equinet.files import check_output
    from equinet.simulate.output import TRAJECTORY_SUFFIXES

    log = _log(arguments)
    check_output(arguments.output, TRAJECTORY_SUFFIXES)
    check_output(log)

    from equinet.cli.progress import progress
    from equinet.cli.structure import check_usable
    from equinet.simulate.calculator import Calculator
    from equinet.simulate.dynamics import run_ensemble

    source, atoms = start
    calculator = Calculator(
        arguments.model, arguments.device, arguments.dtype, modal=arguments.modal, uncertainty=arguments.uncertainty
    )
    check_usable(calculator, atoms, source)
    with progress("dynamics", arguments.steps) as done:
        run = run_ensemble(
            atoms,
            calculator,
            ensemble,
            arguments.steps,
            output=arguments.output,
            log=log,
            interval=arguments.interval,
            checkpoint_interval=arguments.checkpoint,
            resume=arguments.resume,
            made_of=_made_of(arguments, calculator.uncertainty),
            on_step=done,
            guard=guard,
        )
    half = len(run.times) // 2
    lines = [f"{arguments.steps} steps, {run.times[-1]:g} ps: {arguments.output}, {log}"]
    lines.append(f"temperature, second half: {run.temperatures[half:].mean():.1f} K")
    if ensemble.name == "npt":
        lines.append(f"volume, second half: {run.volumes[half:].mean():.2f} A^3")
    if run.pressures is not None:
        lines.append(
            f"pressure, second half: {run.pressures[half:].mean():.3f} GPa, of {ensemble.pressure:g} asked for"
        )
    if ensemble.name == "nve" and len(run.times) > 2:
        drift = run.energy_drift()
        lines.append(f"drift of the total energy: {drift.slope:+.4f} +- {drift.error:.4f} meV/atom/ps")
    if run.guard is not None:
        lines.append(run.guard)
    print("\n".join(lines))
    return 0


def _pressure(mean: float, ensemble: "Ensemble") -> str:
    return f"pressure, second half: {mean:.3f} GPa, of {ensemble.pressure:g} asked for"


def _many(
    structures: "list[tuple[str, Atoms]]",
    ensemble: "Ensemble",
    guard: "GuardSettings | None",
    arguments: argparse.Namespace,
) -> int:
    refuse(arguments, ["log"], "it is for one structure; a folder has frames and summary.json")

    from equinet.cli.progress import progress
    from equinet.cli.structure import torchsim_model
    from equinet.simulate.batched_dynamics import BatchedDynamics
    from equinet.simulate.budget import atoms_at_once

    model = torchsim_model(arguments, arguments.uncertainty)
    frames = [atoms for _, atoms in structures]
    members = 1 if model.uncertainty is None else len(model.uncertainty.source.potentials)
    work = BatchedDynamics(
        frames,
        model,
        ensemble,
        arguments.steps,
        arguments.output,
        form=arguments.format or "extxyz",
        interval=arguments.interval,
        max_atoms=arguments.max_atoms,
        measure=lambda usable: atoms_at_once(model.potential, usable) // members or 1,
        checkpoint_interval=arguments.checkpoint,
        made_of=_made_of(arguments, model.uncertainty),
        guard=guard,
        names=[name for name, _ in structures],
    )

    def name(run: "SystemRun") -> None:
        sys.stderr.write(f"equinet: warning: {structures[run.index][0]}: {run.failure}; the others go on\n")

    with progress("dynamics", arguments.steps * len(frames)) as done:
        runs = work.run(arguments.resume, name, done)
    failed = sum(run.failure is not None for run in runs)
    stopped = f"; {failed} left out or stopped" if failed else ""
    print(f"{len(runs)} structures, {arguments.steps} steps: {arguments.output}{stopped}")
    hot = [run.temperature_k for run in runs if run.failure is None and run.temperature_k is not None]
    if hot:
        print(f"temperature, second half: {sum(hot) / len(hot):.1f} K")
    pressed = [run.pressure_gpa for run in runs if run.failure is None and run.pressure_gpa is not None]
    if pressed:
        print(_pressure(sum(pressed) / len(pressed), ensemble))
    drifts = sorted(
        abs(run.drift_mev_per_atom_ps) for run in runs if run.failure is None and run.drift_mev_per_atom_ps is not None
    )
    if ensemble.name == "nve" and drifts:
        print(f"drift of the total energy: median {drifts[len(drifts) // 2]:.4f}, largest {drifts[-1]:.4f} meV/atom/ps")
    if work.watch is not None:
        print(work.watch.summary())
    return 1 if failed and not arguments.skip_bad else 0
