"""A model, given as a file or as a potential, made ready to simulate with."""

import copy
from pathlib import Path

import torch

from equinet.errors import InputError
from equinet.models import Potential, available_device, load_model, one_modal, resolve_dtype


def ready_potential(
    model: str | Path | Potential,
    device: str | torch.device,
    dtype: str | torch.dtype | None,
    modal: str | None,
) -> Potential:
    """The potential in eval mode on a device.

    Args:
        model: a model file, or a potential. A potential that is on another device, of another dtype or in
            training mode is copied, not changed.
        device: "cpu", "cuda" or "cuda:N".
        dtype: "float32" or "float64", of weights and features; None: as the model is.
        modal: the level of theory, of a potential that knows several.

    Raises:
        InputError: neither a file nor a potential; a file that is no model; a device that is not there; a modal that
            the potential does not know, or none where it knows several.
    """
    if not isinstance(model, str | Path | Potential):
        raise InputError(f"{model!r} is no model; give a model file (*.safetensors) or a potential (equinet.load)")
    place = available_device(device)
    if not isinstance(model, Potential):  # ours alone: nothing is kept for the gradients of its weights
        return one_modal(load_model(model, place, dtype), modal).requires_grad_(False)
    potential = one_modal(model, modal)
    wanted = potential.dtype if dtype is None else resolve_dtype(dtype)
    here = potential.scale.device
    if wanted != potential.dtype:
        potential = potential.with_dtype(wanted)
    elif potential.training or place != here:
        potential = copy.deepcopy(potential)
    return potential.to(place).eval()
