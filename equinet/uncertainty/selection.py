"""Frames worth labelling: those of which the model is unsure, and which are unlike each other and what it knows.

Greedy k-centre choice (Sener and Savarese, ICLR 2018) with the uncertainty as weight: the next frame is the one whose
standard deviation times distance to the nearest frame that is labelled or chosen already is the largest. Such products
of distances to the data and of how unknown the answer is are those of greedy sampling for regression (Wu, Lin and
Huang, Inf. Sci. 474, 90 (2019)); batches of uncertain and diverse structures were compared for interatomic potentials
by Holzmueller, Zaverkin, Kaestner and Steinwart, J. Mach. Learn. Res. 24, 164 (2023). Of the methods there, maximal
determinants need a length scale or run out of rank and clusters pass outliers over; this one has nothing to choose, and
keeps one distance for each candidate.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.graph import AtomicGraph, collate, move
from equinet.models.inference import BatchLimits, batched
from equinet.uncertainty.candidates import Candidates, LeftOut, Screen, graph_of
from equinet.uncertainty.descriptor import StructureDescriptor, distances_to
from equinet.uncertainty.estimate import Uncertainty

if TYPE_CHECKING:
    from ase import Atoms

Array = NDArray[np.float64]
Strategy = Literal["uncertainty", "farthest", "random"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

SAME = 0.02
"""Structures nearer than this are the same: a fiftieth of the distance between those of the training data."""


class LabelledError(InputError):
    """A labelled frame that the model cannot take.

    Attributes:
        index: of the frame.
        reason: one line.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"labelled frame {index}: {reason}")
        self.index, self.reason = index, reason


@dataclass(frozen=True)
class Chosen:
    """A frame worth labelling.

    Attributes:
        index: of the frame among those given.
        row: of the candidate.
        distance: to the nearest labelled frame or one chosen before, where structures of the training data are about
            one apart; infinite where there is none.
    """

    index: int
    row: int
    distance: float


@dataclass(frozen=True)
class Selection:
    """What was chosen, the most wanted first, and from what.

    Attributes:
        by: the strategy.
        chosen: in the order of the choice.
        candidates: frames that could have been.
        left_out: frames that could not, by reason.
        eligible: candidates whose error bars are within the limits.
    """

    by: Strategy
    chosen: tuple[Chosen, ...]
    candidates: Candidates
    left_out: tuple[LeftOut, ...]
    eligible: int


def select_frames(
    uncertainty: Uncertainty,
    frames: "Iterable[Atoms]",
    count: int,
    *,
    by: Strategy = "uncertainty",
    labelled: "Iterable[Atoms]" = (),
    least_std: float = 0.0,
    most_std: float = np.inf,
    seed: int = 0,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> Selection:
    """Choose frames to label; read one by one, and not kept: memory holds WIDEST numbers of each at most.

    Left out are frames that no labelling could be learnt from: atoms at one place or on top of each other, energies
    that exploded, elements that the model does not know, frames that the model was trained or calibrated on. No two
    chosen frames, and none and a labelled one, are nearer than SAME.

    Args:
        uncertainty: of the model.
        frames: candidates.
        count: wanted; fewer are chosen where there are no more that differ.
        by: "uncertainty": uncertain and diverse (see the module); "farthest": diverse alone, the frame that is farthest
            from those labelled and chosen; "random".
        labelled: frames that have labels.
        least_std: of a force component of the frame's worst atom, eV/Angstrom; frames below are not worth labelling.
        most_std: of the same; frames above are where dynamics have gone astray, and the model knows nothing (the trust
            levels of DP-GEN, Zhang et al., Comput. Phys. Commun. 253, 107206 (2020), of which there are no defaults
            that fit all).
        seed: of "random", and of the description of structures with many elements.
        batch_size: structures at a time.
        progress: called with the number of frames looked at.

    Raises:
        InputError: a count below 1, an unknown strategy, limits that no error bar is within.
        LabelledError: a labelled frame that the model cannot take.
    """
    if count < 1:
        raise InputError(f"{count} frames cannot be chosen; give 1 or more")
    if by not in STRATEGIES:
        raise InputError(f"unknown strategy {by!r}; there are {', '.join(STRATEGIES)}")
    if not (0.0 <= least_std <= most_std and most_std > 0.0):  # nor NaN
        raise InputError(
            f"error bars from {least_std:g} to {most_std:g} eV/A cannot be chosen; give limits of 0 or more "
            "(--min-std), the largest (--max-std) not below the smallest"
        )
    limits = BatchLimits(batch_size)
    describe = StructureDescriptor(uncertainty.support, seed)
    known = _described(uncertainty, labelled, describe, limits)
    screen = Screen(uncertainty)
    rows, distances = [known[:0]], [np.zeros(0)]
    for graphs in batched(screen.graphs(frames), limits):
        graph = move(collate(graphs), uncertainty.support.means.device)
        estimate = uncertainty.estimate(graph)
        screen.add(graph, estimate)
        rows.append(describe(estimate.features, uncertainty.species(graph), graph))
        distances.append(distances_to(rows[-1], known).numpy().astype(float))
        if progress is not None:
            progress(screen.seen)
    candidates, sane = screen.candidates(np.concatenate(distances))
    described = torch.cat(rows)[torch.from_numpy(sane)]
    std = candidates.forces_std_max
    eligible = (std >= least_std) & (std <= most_std)
    weight = {
        "uncertainty": _finite(std),
        "farthest": np.ones(len(std)),
        "random": np.random.default_rng(seed).random(len(std)),
    }[by]
    picked = greedy(described, weight * eligible, candidates.distance, count, by != "random")
    chosen = tuple(Chosen(int(candidates.index[row]), row, distance) for row, distance in picked)
    return Selection(by, chosen, candidates, screen.left_out(), int(eligible.sum()))


def greedy(
    rows: torch.Tensor, weight: Array, known: Array, count: int, by_distance: bool = True
) -> list[tuple[int, float]]:
    """Choose rows one after the other; each is the one of the largest weight times distance, the first of equals.

    Args:
        rows: [n, D].
        weight: [n]; those of weight 0 are never chosen.
        known: [n] distances to what was there before; infinite if nothing was, and then distances of the first are
            those to the mean.
        count: wanted.
        by_distance: False: the largest weight alone.

    Returns:
        Rows, and how far each was from the nearest before it. Fewer than wanted where the others are nearer than SAME
        to one that was there or was chosen.
    """
    nearest = known.copy()
    chosen: list[tuple[int, float]] = []
    while len(chosen) < count and len(rows):
        distance = nearest
        if np.isinf(nearest).all():
            distance = distances_to(rows, rows.mean(dim=0, keepdim=True)).numpy().astype(float) + SAME
        score = np.where((nearest > SAME) & (weight > 0.0), weight * distance if by_distance else weight, -np.inf)
        best = int(score.argmax())
        if np.isneginf(score[best]):
            break
        chosen.append((best, float(nearest[best])))
        nearest = np.minimum(nearest, distances_to(rows, rows[best : best + 1]).numpy())
    return chosen


def _described(
    uncertainty: Uncertainty, labelled: "Iterable[Atoms]", describe: StructureDescriptor, limits: BatchLimits
) -> torch.Tensor:
    """Labelled structures as points [m, D]."""
    potential = uncertainty.source.potentials[0]
    width, device = describe.support.means.shape[1], describe.support.means.device
    none = torch.zeros(0, width, dtype=torch.float64, device=device)
    rows = [torch.zeros(0, describe.width)]

    def labelled_graphs() -> Iterator[AtomicGraph]:
        for index, atoms in enumerate(labelled):
            try:
                yield graph_of(atoms, potential)
            except InputError as error:
                raise LabelledError(index, str(error)) from error

    for graphs in batched(labelled_graphs(), limits):
        graph = move(collate(graphs), device)
        _, derivatives = potential.with_readout_derivatives(graph, none)
        rows.append(describe(derivatives.features, uncertainty.species(graph), graph))
    return torch.cat(rows)


def _finite(std: Array) -> Array:
    """Elements without training data have infinite standard deviations: a thousand times the largest that is known."""
    known = std[np.isfinite(std)]
    return np.where(np.isinf(std), 1000.0 * known.max(initial=1e-3), std)
