"""One level of theory of a potential that knows several, as a potential of its own."""

import dataclasses

import torch

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
            raise InputError(f"the potential knows one level of theory, so there is no {modal!r}; leave out --modal")
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
