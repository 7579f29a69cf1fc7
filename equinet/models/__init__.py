"""Architectures, one file each; the potential around them; the model file.

``ARCHITECTURES`` is the closed table a model file's header may name: no class path is ever imported from a file.
"""

from equinet.models.compiled import CompiledNequIP, CompiledNequIPArchitecture
from equinet.models.nequip import NequIP, NequIPArchitecture

ARCHITECTURES: dict[str, type] = {"nequip": NequIPArchitecture, "compiled-nequip": CompiledNequIPArchitecture}
"""Name in a model file's header -> hyper-parameters, which build the network."""

from equinet.models.adaptation import merged, with_shifted_references  # noqa: E402
from equinet.models.groups import freeze, layer_groups, parameter_groups  # noqa: E402
from equinet.models.modals import add_modal, one_modal  # noqa: E402
from equinet.models.model_file import load_model, read_header, save_model  # noqa: E402 it reads the table
from equinet.models.placement import available_device, resolve_dtype  # noqa: E402
from equinet.models.potential import Potential, Prediction  # noqa: E402

__all__ = [
    "ARCHITECTURES",
    "CompiledNequIP",
    "CompiledNequIPArchitecture",
    "NequIP",
    "NequIPArchitecture",
    "Potential",
    "Prediction",
    "add_modal",
    "available_device",
    "freeze",
    "layer_groups",
    "load_model",
    "merged",
    "one_modal",
    "parameter_groups",
    "read_header",
    "resolve_dtype",
    "save_model",
    "with_shifted_references",
]
