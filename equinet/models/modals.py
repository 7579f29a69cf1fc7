"""Levels of theory of a potential: one of several as a potential of its own; one more."""

import dataclasses

import torch
from torch import Tensor

from equinet.errors import InputError
from equinet.models.nequip import NequIPArchitecture
from equinet.models.potential import Potential


def one_modal(potential: Potential, modal: str | None) -> Potential:
    """The potential of one level of theory: what the level adds becomes embedding, biases and reference energies.

    Args:
        potential: any.
        modal: one of ``potential.modals``; None where it has none.

    Returns:
        The potential itself where it knows one level only, else a new one, in eval mode, with the level's name in its
        provenance ("modal").

    Raises:
        InputError: no modal, or none of these, where there are several; one where there are none.
    """
    if not potential.modals:
        if modal is not None:
            raise InputError(f"the potential knows one level of theory, so there is no {modal!r}; leave out the modal")
        return potential
    names = ", ".join(potential.modals)
    if modal is None:
        raise InputError(f"the potential knows the levels of theory {names}; say which with --modal NAME")
    if modal not in potential.modals:
        raise InputError(f"the potential knows no {modal!r}; there are {names}")
    index = potential.modals.index(modal)
    architecture = potential.architecture
    assert isinstance(architecture, NequIPArchitecture)  # no other has modals
    state = dict(potential.state_dict())
    for name in ("reference_energies", "scale", "shift"):
        state[name] = state[name][index]
    for name in [name for name in state if "modal_" in name]:
        own = state.pop(name)[index]
        target = name.replace("modal_", "")
        state[target] = state[target] + own if target in state else own
    with torch.random.fork_rng(devices=[]):  # the random weights drawn here are overwritten
        single = Potential(
            dataclasses.replace(architecture, modals=[], biases=True),
            species=potential.species,
            isolated_energies=state["reference_energies"].tolist(),
            scale=state["scale"].tolist(),
            shift=state["shift"].tolist(),
            subtract_isolated=potential.subtract_isolated,
            zbl=potential.zbl is not None,
            dtype=potential.dtype,
            provenance=potential.provenance | {"modal": modal},
        )
    single.load_state_dict(state)
    return single.to(potential.scale.device).eval()


def add_modal(potential: Potential, name: str, start: str) -> Potential:
    """A potential that knows one more level of theory, which at first is a copy of one it knows.

    The network is shared; the new level has reference energies, scale, shift, embedding vector and biases of its own,
    so that training on its structures alone, with all else frozen (:mod:`equinet.models.groups`), leaves the others as
    they are.

    Args:
        potential: any but a compiled one.
        name: of the new level.
        start: the level to copy. A potential that knows one level only has no name for it: this becomes its name.

    Returns:
        A new potential, in eval mode, that predicts for the old levels what the given one does.

    Raises:
        InputError: no such level; a name that is taken; a compiled potential.
    """
    architecture = potential.architecture
    if not isinstance(architecture, NequIPArchitecture):
        raise InputError("a compiled potential knows one level of theory for good; take the one it was compiled from")
    old = potential.modals or [start]
    if start not in old:
        raise InputError(f"the potential knows no {start!r} for {name!r} to start from; there are {', '.join(old)}")
    if name in old:
        raise InputError(f"the potential has a level of theory {name!r} already; give the new one another name")
    index = old.index(start)

    def with_copy(values: Tensor) -> Tensor:
        values = values if potential.modals else values.unsqueeze(0)
        return torch.cat([values, values[index : index + 1]])

    references = {name: with_copy(getattr(potential, name)) for name in ("reference_energies", "scale", "shift")}
    with torch.random.fork_rng(devices=[]):  # the random weights drawn here are overwritten
        extended = Potential(
            dataclasses.replace(architecture, modals=[*old, name]),
            species=potential.species,
            isolated_energies=references["reference_energies"].tolist(),
            scale=references["scale"].tolist(),
            shift=references["shift"].tolist(),
            subtract_isolated=potential.subtract_isolated,
            zbl=potential.zbl is not None,
            dtype=potential.dtype,
            provenance=potential.provenance,
        )
    # what levels add is zero in a new potential, as it is where there is one level only
    state = extended.state_dict() | potential.state_dict() | references
    state |= {key: with_copy(state[key]) for key in state if "modal_" in key and potential.modals}
    extended.load_state_dict(state)
    return extended.to(potential.scale.device).eval()
