"""From a trained potential to the start of another's training: references of the new data, low-rank updates."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from equinet.errors import InputError
from equinet.models.potential import Potential
from equinet.nn.lora import merge_low_rank_updates


def with_shifted_references(
    potential: Potential,
    isolated: Mapping[int, float],
    bound: Mapping[int, float] | None = None,
    modal: str | None = None,
) -> Potential:
    """A copy whose energies are shifted by a number for each atom; forces and stress stay as they are.

    Args:
        potential: any.
        isolated: by atomic number, added to E0, eV; other elements keep theirs.
        bound: by atomic number, added to the shift, which an isolated atom does not have where the potential subtracts
            its energy, eV.
        modal: the level of theory that is shifted, where there are several.

    Raises:
        InputError: an element it does not know; no such level, none where there are several, one where there are none.
    """
    if (modal is None) == bool(potential.modals) or (modal is not None and modal not in potential.modals):
        known = ", ".join(potential.modals) or "one level of theory without a name"
        raise InputError(f"references of the level of theory {modal!r} cannot be shifted: the potential knows {known}")
    bound = bound or {}
    potential.check_elements(torch.tensor([*isolated, *bound], dtype=torch.int64))
    shifted = copy.deepcopy(potential)

    def add(values: Tensor, shifts: Mapping[int, float]) -> None:
        row = values if modal is None else values[potential.modals.index(modal)]
        for number, shift in shifts.items():
            row[potential.species.index(number)] += shift

    add(shifted.reference_energies, isolated)
    add(shifted.shift, bound)
    return shifted


def merged(potential: Potential) -> Potential:
    """A copy without low-rank updates, which are part of its matrices (:mod:`equinet.nn.lora`)."""
    plain = copy.deepcopy(potential)
    merge_low_rank_updates(plain)
    return plain
