"""Errors by group, as crystals need them: strained cells apart, energies as differences within a group.

The cells of an elastic scan have no forces by symmetry and are easy for any model, and a shift between two groups
(vacancies against the perfect crystal) is one number that says nothing of dynamics within either. So the headline is of
the groups that move: their forces, and their energies after each group's mean error is taken away.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from equinet.data import Record
from equinet.training.evaluation import FramePrediction, compare
from equinet.units import MEV_PER_EV

GROUP = "accuracy_group"
"""The info key of :func:`with_group`."""

SYMMETRIC = ", zero forces"
"""Added to the group of frames without a force above 1 meV/A, of whatever group."""

NO_FORCE = 1e-3  # eV/A


def with_group(record: Record, key: str | None) -> Record:
    """The record with its group in its info: the value of a key, and whether all its forces are zero."""
    group = "all" if key is None else str(record.info.get(key, "(none)"))
    still = record.forces is not None and np.abs(record.forces).max() < NO_FORCE
    return replace(record, info={**record.info, GROUP: group + (SYMMETRIC if still else "")})


def is_moving(record: Record, apart: Sequence[str]) -> bool:
    """Whether a frame belongs to the headline: it has forces, and its group is not one to be reported apart."""
    group = str(record.info[GROUP])
    return not group.endswith(SYMMETRIC) and group not in apart


def energy_differences(frames: Sequence[FramePrediction]) -> dict[str, float]:
    """Errors of energies per atom after each group's mean error is taken away, meV/atom; frames of :func:`with_group`.

    A group of n frames has n - 1 differences: deviations are scaled by sqrt(n / (n - 1)); a single frame has none.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for frame in frames:
        if frame.record.energy is not None:
            error = (frame.energy - frame.record.energy) / len(frame.record.numbers)
            groups[str(frame.record.info[GROUP])].append(error)
    deviations = [
        np.sqrt(len(errors) / (len(errors) - 1)) * (np.array(errors) - np.mean(errors))
        for errors in groups.values()
        if len(errors) > 1
    ]
    if not deviations:
        return {}
    every = MEV_PER_EV * np.concatenate(deviations)
    return {
        "energy_difference_mae_mev_per_atom": float(np.abs(every).mean()),
        "energy_difference_rmse_mev_per_atom": float(np.sqrt(np.mean(every**2))),
        "energy_difference_frames": len(every),
    }


def summarize(frames: Sequence[FramePrediction], apart: Sequence[str]) -> dict[str, Any]:
    """All errors of a test: over all frames, of the groups that move, of each group; frames of :func:`with_group`."""
    if not frames:
        return {"frames": 0}
    values = compare(frames, by=GROUP).to_json() | energy_differences(frames)
    for name, group in values["groups"].items():
        group |= energy_differences([frame for frame in frames if frame.record.info[GROUP] == name])
    moving = [frame for frame in frames if is_moving(frame.record, apart)]
    if moving and len(moving) < len(frames):
        values["moving"] = compare(moving).to_json() | energy_differences(moving)
    return values
