"""Making an uncertainty: variances from the training data, factors and limits from held-out data."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from equinet.data import Record
from equinet.errors import DataWarning, InputError
from equinet.graph import atoms_per_graph
from equinet.models import Potential
from equinet.uncertainty.calibration import MIXTURES, Calibration, calibrate, share_of
from equinet.uncertainty.committee import Committee
from equinet.uncertainty.estimate import METHODS, QUANTITIES, Uncertainty, variances
from equinet.uncertainty.frames import fingerprints, labelled_batches
from equinet.uncertainty.last_layer import (
    DEFAULT_SAMPLES,
    LastLayer,
    Precision,
    readout_width,
    sampled_directions,
    square_root_of_covariance,
)
from equinet.uncertainty.source import Source, Spread
from equinet.uncertainty.support import FeatureMoments, Support, with_limits

Array = NDArray[np.float64]

FORCE_FRAMES = 500
"""Training frames at most whose forces are differentiated by the weights; of the others features and energies count."""
LEAST_FRAMES = 5
"""Calibration frames below which there is no calibration. A factor is the root mean square of as many ratios of error
and standard deviation as there are frames (atoms of a frame err together). Where errors are Gaussian, the chi-square
distribution says how often it is off by two or more: 43 of 100 with one frame, 15 with three, 9 with four, 6 with five,
1 with ten."""
FEW_FRAMES = 10
"""Calibration frames below which factors are uncertain, which is said."""
NO_VARIANCE = 1e-12
"""eV^2 and (eV/Angstrom)^2: variances below are rounding, of values that symmetry fixes."""


@dataclass(frozen=True)
class FitSettings:
    """How much is spent.

    Args:
        batch_size: structures at a time.
        samples: directions for forces; None for DEFAULT_SAMPLES, or as many as there are weights.
        force_frames: see FORCE_FRAMES.
        seed: of the frames and directions chosen.
    """

    batch_size: int = 8
    samples: int | None = None
    force_frames: int = FORCE_FRAMES
    seed: int = 0


def fit_uncertainty(
    potentials: Sequence[Potential],
    training: Sequence[Record],
    calibration: Sequence[Record],
    settings: FitSettings | None = None,
    progress: Callable[[int], None] | None = None,
    names: Sequence[str] | None = None,
) -> Uncertainty:
    """Make the uncertainty of one model (its last layer's) or of several (a committee's).

    Args:
        potentials: in eval mode on one device, trained on the training frames.
        training: frames that they were trained on.
        calibration: frames with energies and forces, none of them in training.
        settings: None for the defaults.
        progress: called with the number of frames done, of ``len(training) + len(calibration)``.
        names: of the potentials, as their files, for messages.

    Raises:
        InputError: calibration frames that occur in training, that have energies or forces in fewer than LEAST_FRAMES
            of them, or values that symmetry fixes alone; a model that knows several levels of theory; an element that
            the model does not know; members that are no committee.
    """
    settings = settings or FitSettings()
    if any(potential.modals for potential in potentials):
        raise InputError("the model knows several levels of theory; choose one with --modal")
    if not training:
        raise InputError("there are no training frames")
    used, held_out = fingerprints(training), fingerprints(calibration)
    _check_calibration(calibration, held_out, np.isin(held_out, used))
    potential = potentials[0]
    advance = _Progress(progress)
    source: Source
    if len(potentials) > 1:
        source = Committee(potentials, names)
        support, _ = _from_training(potential, training, settings, 0, advance)
    else:
        support, precision = _from_training(potential, training, settings, settings.force_frames, advance)
        root = square_root_of_covariance(precision.matrix)
        samples = settings.samples or min(DEFAULT_SAMPLES, len(root))
        source = LastLayer(potential, root, sampled_directions(root, samples, settings.seed))
    device = potential.scale.device
    return _calibrated(source, support.to(device), calibration, np.concatenate([used, held_out]), settings, advance)


def _from_training(
    potential: Potential, training: Sequence[Record], settings: FitSettings, force_frames: int, advance: "_Progress"
) -> tuple[Support, Precision]:
    """Moments of the features and, where forces are asked for, the precision of the weights."""
    moments = FeatureMoments(len(potential.species), readout_width(potential), settings.seed)
    precision = Precision(potential, labels=tuple(any(label(record) for record in training) for label in _LABELS))
    chosen = np.zeros(len(training), dtype=bool)
    chosen[np.random.default_rng(settings.seed).permutation(len(training))[:force_frames]] = True
    for forces in (True, False):
        part = [record for record, one in zip(training, chosen, strict=True) if one == forces]
        for graph, records in labelled_batches(potential, part, settings.batch_size):
            moments.add(precision.add(graph, forces), potential.species_index[graph.numbers])
            advance(len(records))
    return moments.support(), precision


_LABELS: tuple[Callable[[Record], bool], ...] = (
    lambda record: record.energy is not None,
    lambda record: record.forces is not None,
    lambda record: record.stress is not None,
)


def _check_calibration(records: Sequence[Record], marks: NDArray[np.int64], in_training: NDArray[np.bool_]) -> None:
    if in_training.any():
        first = records[int(np.flatnonzero(in_training)[0])].source
        raise InputError(
            f"{first} and {int(in_training.sum()) - 1} more calibration frames are training frames too, of which the "
            "model knows the answers; calibrate on frames that it has not seen"
        )
    counts = {}
    for name in ("energy", "forces"):
        labelled = [getattr(record, name) is not None for record in records]
        if not any(labelled):
            raise InputError(f"no calibration frame has a label of the {name}; give frames with energies and forces")
        counts[name] = len(np.unique(marks[labelled]))
    name, count = min(counts.items(), key=lambda pair: pair[1])
    if count < LEAST_FRAMES:
        raise InputError(
            f"calibration frames that differ and have a label of the {name}: {count}; a factor from so few would often "
            f"be off by two or more; give {LEAST_FRAMES} at least, better a hundred"
        )
    if count < FEW_FRAMES:
        warnings.warn(
            f"{count} calibration frames are few for the {name}: factors will be uncertain; a hundred are better",
            DataWarning,
        )


def _calibrated(
    source: Source,
    support: Support,
    records: Sequence[Record],
    used: NDArray[np.int64],
    settings: FitSettings,
    advance: "_Progress",
) -> Uncertainty:
    rows: dict[str, list[Array]] = {f"{q}, {m}": [] for q in QUANTITIES for m in METHODS}
    squares: dict[str, list[Array]] = {quantity: [] for quantity in QUANTITIES}
    per_atom, distances, species = [], [], []
    potential = source.potentials[0]
    for graph, batch in labelled_batches(potential, records, settings.batch_size):
        spread = source(graph)
        of = potential.species_index[graph.numbers]
        sizes = atoms_per_graph(graph).cpu().numpy()
        labelled, errors = squared_errors(spread, batch)
        for method, values in variances(source, spread, graph, support, of).items():
            for quantity in QUANTITIES:
                rows[f"{quantity}, {method}"].append(getattr(values, quantity)[labelled[quantity]])
        for quantity in QUANTITIES:
            squares[quantity].append(errors[quantity])
        squares["energy"][-1] = errors["energy"] / sizes[labelled["energy"]]
        per_atom.append(errors["energy"] / np.square(sizes[labelled["energy"]]))
        distances.append(support.distances(spread.features, of))
        species.append(of)
        advance(len(batch))
    joined = {quantity: np.concatenate(values) for quantity, values in squares.items()}
    for quantity in ("energy", "forces"):
        if np.concatenate(rows[f"{quantity}, sigma"]).max() < NO_VARIANCE:
            raise InputError(
                f"nothing is uncertain about the {quantity} of the calibration frames: symmetry fixes it, or atoms "
                "have no neighbours; add frames whose atoms are displaced"
            )
    calibrations: dict[str, Calibration] = {}
    for name, parts in rows.items():
        quantity, method = name.split(", ")
        if joined[quantity].size:
            calibrations[name] = calibrate(np.concatenate(parts), joined[quantity], _shares(source, quantity, method))
    rms = {
        "energy_ev_per_atom": float(np.sqrt(np.concatenate(per_atom).mean())),
        "force_ev_per_angstrom": float(np.sqrt(joined["forces"].mean())),
    }
    limited = with_limits(support, torch.cat(distances), torch.cat(species))
    return Uncertainty(source, limited, calibrations, rms, used)


def _shares(source: Source, quantity: str, method: str) -> tuple[float, ...]:
    """Of the typical variance that are tried."""
    if method != "sigma":
        return MIXTURES
    components = {"energy": 1, "forces": 3, "stress": 6}[quantity]
    least = share_of(components * source.freedom)
    # Calibration frames resemble the training frames, so what grows beyond them hardly pays there, and one energy a
    # frame is too little to tell: a share chosen by likelihood would make sigma a constant.
    return (least, *(share for share in MIXTURES if least < share <= 0.5)) if quantity == "forces" else (least,)


def squared_errors(spread: Spread, records: Sequence[Record]) -> tuple[dict[str, NDArray[np.bool_]], dict[str, Array]]:
    """Which structures (energy, stress) and atoms (forces) have labels; the mean square of each one's components."""
    sizes = [len(record.numbers) for record in records]
    prediction = spread.prediction
    energy, forces, stress = (
        tensor.cpu().numpy() for tensor in (prediction.energy, prediction.forces, prediction.stress)
    )
    labelled = {
        "energy": np.array([record.energy is not None for record in records]),
        "forces": np.repeat([record.forces is not None for record in records], sizes),
        "stress": np.array([record.stress is not None for record in records]),
    }
    energies = np.array([record.energy for record in records if record.energy is not None])
    vectors = [record.forces for record in records if record.forces is not None]
    tensors = [record.stress for record in records if record.stress is not None]
    return labelled, {
        "energy": np.square(energy[labelled["energy"]] - energies),
        "forces": np.square(forces[labelled["forces"]] - np.concatenate([np.zeros((0, 3)), *vectors])).mean(axis=1),
        "stress": np.square(stress[labelled["stress"]] - np.array(tensors).reshape(-1, 3, 3)).mean(axis=(1, 2)),
    }


class _Progress:
    """Adds up frames done."""

    def __init__(self, report: Callable[[int], None] | None) -> None:
        self._report = report
        self._done = 0

    def __call__(self, frames: int) -> None:
        self._done += frames
        if self._report is not None:
            self._report(self._done)
