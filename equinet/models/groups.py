"""Parts of a network by the names a user would guess, to freeze them or to give them learning rates of their own.

The parts are ``embedding``, ``basis`` (the radial functions), ``layers.0``, ``layers.1``, ... (each with ``.radial``,
``.linear`` and ``.self_connection``), ``readout``, and ``modals`` (what each level of theory adds). ``layers`` stands
for all layers, ``radial``, ``linear`` and ``self_connection`` for those of all layers.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from torch import nn

from equinet.errors import InputError
from equinet.models.potential import Potential

_PARTS = {
    "radial": "radial",
    "linear_in": "linear",
    "linear_out": "linear",
    "self_connection": "self_connection",
    "shared_connection": "self_connection",
}
_ENDS = {"embedding": "embedding", "basis": "basis", "readout": "readout", "last": "readout"}


def layer_groups(potential: Potential) -> dict[str, list[nn.Parameter]]:
    """The weights of each part that cannot be divided further (``layers.0.radial``, not ``layers.0``), in order.

    Raises:
        InputError: a compiled potential, whose radial networks are splines.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, weight in potential.named_parameters():
        if weight.numel():  # an output that no input reaches has an empty matrix
            groups.setdefault(_group_of(name), []).append(weight)
    return groups


def freeze(potential: Potential, names: Iterable[str], key: str = "freeze") -> None:
    """Take the weights of these parts out of training, in place.

    Args:
        potential: any that is not compiled.
        names: of parts.
        key: where the names stand, for the message.

    Raises:
        InputError: no such part, with the nearest; nothing left to train.
    """
    groups = layer_groups(potential)
    for name in names:
        for group in _select(groups, name, key):
            for weight in groups[group]:
                weight.requires_grad_(False)
    if not any(weight.requires_grad for weights in groups.values() for weight in weights):
        raise InputError(f"{key} names every part of the model, so there is nothing to train; leave one out")


def parameter_groups(
    potential: Potential, lr: float, lr_factors: Mapping[str, float], key: str = "lr_factors"
) -> list[dict[str, Any]]:
    """Groups for a torch optimiser of all weights that are not frozen.

    Where several names hold a part, the innermost counts: ``layers.0`` before ``layers``. What levels of theory add has
    no weight decay, which would change also the levels that no structure of a batch is of.

    Args:
        potential: frozen parts are left out.
        lr: learning rate of a part without a factor.
        lr_factors: by name of a part, above zero.
        key: where the factors stand, for the message.

    Returns:
        One group for each learning rate, those without a factor first.

    Raises:
        InputError: no such part, with the nearest; a factor that is not positive or has nothing to act on; two factors
            for one part, neither inside the other.
    """
    groups = layer_groups(potential)
    trained = {name for name, weights in groups.items() if any(weight.requires_grad for weight in weights)}
    selected = {name: _select(groups, name, key) for name in lr_factors}
    for name, factor in lr_factors.items():
        if not 0.0 < factor < float("inf"):
            raise InputError(f"{key}.{name} is {factor}; it must be above 0; to train nothing of it, freeze it")
        if not selected[name] & trained:
            raise InputError(f"{key}.{name} has no effect, for all of it is frozen; leave it out")
    by_settings: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for group, weights in groups.items():
        names = [name for name in lr_factors if group in selected[name]]
        inner = [name for name in names if all(selected[name] <= selected[other] for other in names)]
        if names and not inner:
            raise InputError(f"{key} has {' and '.join(names)}, which both hold {group}; give {group} its own factor")
        settings = (lr_factors[inner[0]] if inner else 1.0, group == "modals")
        by_settings.setdefault(settings, []).extend(weight for weight in weights if weight.requires_grad)
    ordered = sorted(by_settings.items(), key=lambda item: item[0][0] != 1.0)
    return [
        {"params": weights, "lr": lr * factor} | ({"weight_decay": 0.0} if modals else {})
        for (factor, modals), weights in ordered
        if weights
    ]


def _group_of(parameter: str) -> str:
    if "modal_" in parameter:
        return "modals"
    layer = re.match(r"model\.layers\.(\d+)\.(\w+)", parameter)
    if layer and layer[2] in _PARTS:
        return f"layers.{layer[1]}.{_PARTS[layer[2]]}"
    end = re.match(r"model\.(\w+)", parameter)
    if end and end[1] in _ENDS:
        return _ENDS[end[1]]
    raise InputError("a compiled potential cannot be trained; take the one it was compiled from")


def _select(groups: Collection[str], name: str, key: str) -> frozenset[str]:
    """The parts that a name stands for."""
    found = frozenset(group for group in groups if name == group or name in _holders(group))
    if found:
        return found
    known = list(dict.fromkeys(name for group in groups for name in (*_holders(group), group)))
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    layers = sum(re.fullmatch(r"layers\.\d+", name) is not None for name in known)
    plain = ", ".join(name for name in known if "." not in name)
    numbered = "layers.0" + (f" to layers.{layers - 1}" if layers > 1 else "")
    raise InputError(
        f"{key} names {name!r}, which is no part of the model; "
        + (f"did you mean {near[0]}? There are " if near else "there are ")
        + f"{plain}, and {numbered}, also with .radial, .linear, .self_connection"
    )


def _holders(group: str) -> tuple[str, ...]:
    """Names that stand for this part among others."""
    if not group.startswith("layers."):
        return ()
    layers, number, part = group.split(".")
    return (layers, f"{layers}.{number}", part)
