"""One pass over a trajectory for all analyses, each of which may find that the file lacks what it needs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from equinet.errors import InputError
from equinet.simulate.analysis.curves import with_error
from equinet.simulate.analysis.diffusion import diffusion, draw_diffusion
from equinet.simulate.analysis.energy_conservation import (
    EnergyRecorder,
    draw_energy_conservation,
    energy_conservation,
    read_energy_log,
)
from equinet.simulate.analysis.motion import Motion, MotionRecorder
from equinet.simulate.analysis.radial_distribution import RadialDistributionRecorder, draw_radial_distribution
from equinet.simulate.analysis.trajectory import Trajectory
from equinet.simulate.analysis.vibrational_spectrum import draw_vibrational_spectrum, vibrational_spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AnalysisName = Literal["rdf", "msd", "spectrum", "drift"]
ANALYSES: tuple[AnalysisName, ...] = ("rdf", "msd", "spectrum", "drift")


@dataclass(frozen=True)
class Settings:
    """Of all analyses; see the functions that they are arguments of."""

    cutoff: float | None = None
    bin_width: float = 0.05
    fit_ps: tuple[float, float] | None = None
    viscosity_mpa_s: float | None = None
    temperature_k: float | None = None
    correlation_ps: float = 2.0
    log: Path | None = None


@dataclass
class Analysis:
    """What was found.

    Attributes:
        frames: read.
        found: the result of each analysis that could be done, by name.
        left_out: why not, of each that could not.
    """

    frames: int = 0
    found: dict[AnalysisName, Any] = field(default_factory=dict)
    left_out: dict[AnalysisName, str] = field(default_factory=dict)


def analyze(
    trajectory: Trajectory,
    settings: Settings | None = None,
    names: Sequence[AnalysisName] = ANALYSES,
    on_frame: Callable[[int], None] | None = None,
) -> Analysis:
    """Read the frames once, and analyse.

    Args:
        trajectory: the frames.
        settings: of the analyses.
        names: which.
        on_frame: called after every frame with the number of frames read.

    Raises:
        InputError: the trajectory cannot be read; settings that make no sense.
    """
    settings = settings or Settings()
    distances = RadialDistributionRecorder(settings.cutoff, settings.bin_width)
    motion, energies = MotionRecorder(), EnergyRecorder()
    wanted: dict[AnalysisName, list[Any]] = {
        "rdf": [distances],
        "msd": [motion],
        "spectrum": [motion],
        "drift": [] if settings.log else [energies],
    }
    active = {id(each): each for name in names for each in wanted[name]}
    result, failed, atoms = Analysis(), {}, 0
    for frame in trajectory:
        for key, recorder in list(active.items()):
            try:
                recorder.add(frame)
            except InputError as error:
                where = "" if str(error).startswith("frame") else f"frame {frame.number}: "
                failed[key] = f"{trajectory.path} {where}{error}"
                del active[key]
        result.frames, atoms = result.frames + 1, len(frame.numbers)
        if on_frame is not None:
            on_frame(result.frames)
    shared: list[Motion] = []

    def moved() -> Motion:
        if not shared:
            shared.append(motion.finish())
        return shared[0]

    finish: dict[AnalysisName, Callable[[], Any]] = {
        "rdf": distances.finish,
        "msd": lambda: diffusion(moved(), settings.fit_ps, settings.viscosity_mpa_s, settings.temperature_k),
        "spectrum": lambda: vibrational_spectrum(moved(), settings.correlation_ps),
        "drift": lambda: energy_conservation(
            read_energy_log(settings.log, atoms) if settings.log else energies.finish()
        ),
    }
    for name in names:
        reasons = [failed[id(each)] for each in wanted[name] if id(each) in failed]
        try:
            if reasons:
                raise InputError(reasons[0])
            result.found[name] = finish[name]()
        except InputError as error:
            result.left_out[name] = str(error)
    return result


def figures_of(name: AnalysisName, found: Any) -> "dict[str, Callable[[], Figure]]":
    """What draws the figure of a result, by the figure's name."""
    draw: dict[AnalysisName, Callable[[Any], Figure]] = {
        "rdf": draw_radial_distribution,
        "msd": draw_diffusion,
        "spectrum": draw_vibrational_spectrum,
        "drift": draw_energy_conservation,
    }
    return {name: lambda: draw[name](found)}


def summary(name: AnalysisName, found: Any) -> Iterator[str]:
    """Lines for a person to read."""
    if name == "rdf":
        for each in found.pairs:
            pair = "-".join(each.pair) if each.pair[0] != "all" else "all"
            if each.first_peak_angstrom is None:
                continue
            text = f"rdf {pair}: first peak at {each.first_peak_angstrom:.3g} A"
            if each.coordination_number is not None:
                text += (
                    f", {with_error(each.coordination_number, each.coordination_number_error)} neighbours within "
                    f"{each.first_minimum_angstrom:.2f} A"
                )
            yield text
    elif name == "msd":
        for each in found.elements:
            error = each.diffusion_error_m2_per_s
            text = f"msd {each.element}: {each.regime}, exponent {each.exponent:.2f} ± {each.exponent_error:.2f}"
            if each.diffusion_m2_per_s is not None:
                text += f", D = ({with_error(1e9 * each.diffusion_m2_per_s, 1e9 * (error or 0.0))})e-9 m^2/s"
            elif each.diffusion_below_m2_per_s is not None:
                text += f", D below {each.diffusion_below_m2_per_s:.2g} m^2/s"
            if each.corrected_m2_per_s is not None:
                text += f", {each.corrected_m2_per_s:.3g} in an infinite system (Yeh and Hummer 2004)"
            yield text + ("" if each.settled else " (too short for a sure error)")
    elif name == "spectrum":
        peaks = ", ".join(f"{peak:.1f}" for peak in found.peaks_thz[:5])
        yield (
            f"spectrum: {f'peaks at {peaks} THz' if peaks else 'no peaks'}, resolution {found.resolution_thz:.2g} THz "
            f"from {found.time_ps[-1]:.2g} ps of correlation, {found.degrees_of_freedom} degrees of freedom"
        )
    else:
        yield (
            f"drift: {with_error(found.drift_mev_per_atom_per_ps, found.drift_error_mev_per_atom_per_ps)} meV/atom/ps, "
            f"fluctuation {found.fluctuation_mev_per_atom:.2g} meV/atom, {found.mean_temperature_k:.0f} K"
        )
        if not found.constant_energy:
            yield "drift: energy was exchanged with a bath; of a run at constant temperature this is no score"
