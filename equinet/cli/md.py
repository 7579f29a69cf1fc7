"""``equinet md``: molecular dynamics."""

from pathlib import Path

from equinet.cli.options import add_device_and_dtype, add_modal, add_model, add_seed, positive_integer, verb_parser

HELP = "run molecular dynamics: constant energy (nve) or temperature (nvt)"


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model, a structure or an output that cannot be; dynamics that explode.
    """
    parser = verb_parser(
        "md",
        "Run molecular dynamics: velocity Verlet at constant energy, or Langevin at constant temperature.",
        "equinet md model.safetensors start.extxyz --ensemble nve --temperature 300 --timestep 0.5 --steps 2000 "
        "-o run.extxyz",
    )
    add_model(parser)
    parser.add_argument("structure", metavar="STRUCTURE", type=Path, help="the start, in any format ASE reads")
    parser.add_argument("--ensemble", choices=("nve", "nvt"), default="nve", help="(default: nve)")
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="K",
        help="of the random velocities at the start, and of the bath (nve without it: velocities of the file)",
    )
    parser.add_argument("--timestep", type=float, required=True, metavar="FS", help="time step, fs")
    parser.add_argument("--steps", type=positive_integer, required=True, metavar="N", help="number of steps")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="TRAJ", help="trajectory: .extxyz or .traj")
    parser.add_argument("--log", type=Path, metavar="FILE", help="CSV of every step (default: TRAJ with .csv)")
    parser.add_argument(
        "--interval", type=positive_integer, default=10, metavar="N", help="steps between frames (default: 10)"
    )
    parser.add_argument("--friction", type=float, default=0.01, metavar="X", help="of the bath, 1/fs (default: 0.01)")
    parser.add_argument("--frame", default="-1", metavar="I", help="of the structure file (default: -1, the last)")
    add_seed(parser)
    add_modal(parser)
    add_device_and_dtype(parser)
    arguments = parser.parse_args(argv)

    from equinet.files import check_output
    from equinet.simulate.output import TRAJECTORY_SUFFIXES

    log = arguments.log or arguments.output.with_suffix(".csv")
    check_output(arguments.output, TRAJECTORY_SUFFIXES)
    check_output(log)

    from equinet.cli.progress import progress
    from equinet.cli.structure import check_usable, read_structure
    from equinet.simulate.calculator import Calculator
    from equinet.simulate.dynamics import run_md

    calculator = Calculator(arguments.model, arguments.device, arguments.dtype, modal=arguments.modal)
    atoms = read_structure(arguments.structure, arguments.frame)
    check_usable(calculator, atoms, arguments.structure)
    with progress("dynamics", arguments.steps) as done:
        run = run_md(
            atoms,
            calculator,
            ensemble=arguments.ensemble,
            timestep=arguments.timestep,
            steps=arguments.steps,
            temperature=arguments.temperature,
            friction=arguments.friction,
            seed=arguments.seed,
            output=arguments.output,
            log=log,
            interval=arguments.interval,
            on_step=done,
        )
    half = len(run.times) // 2
    lines = [f"{arguments.steps} steps, {run.times[-1]:g} ps: {arguments.output}, {log}"]
    lines.append(f"temperature, second half: {run.temperatures[half:].mean():.1f} K")
    if arguments.ensemble == "nve" and len(run.times) > 2:
        drift = run.energy_drift()
        lines.append(f"drift of the total energy: {drift.slope:+.4f} +- {drift.error:.4f} meV/atom/ps")
    print("\n".join(lines))
    return 0
