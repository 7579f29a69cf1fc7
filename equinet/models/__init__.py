"""Architectures, one file each; the potential around them; the model file.

``ARCHITECTURES`` is the closed table a model file's header may name: no class path is ever imported from a file.
"""

from torch import nn

from equinet.models.nequip import NequIP, NequIPArchitecture

ARCHITECTURES: dict[type, type[nn.Module]] = {NequIPArchitecture: NequIP}
"""Hyper-parameters -> module of atom energies."""

ARCHITECTURE_NAMES: dict[str, type] = {"nequip": NequIPArchitecture}
"""Name in a model file's header -> hyper-parameters."""

from equinet.models.model_file import load_model, read_header, save_model  # noqa: E402 they read the tables
from equinet.models.placement import available_device, resolve_dtype  # noqa: E402
from equinet.models.potential import Potential, Prediction  # noqa: E402

__all__ = [
    "ARCHITECTURES",
    "ARCHITECTURE_NAMES",
    "NequIP",
    "NequIPArchitecture",
    "Potential",
    "Prediction",
    "available_device",
    "load_model",
    "read_header",
    "resolve_dtype",
    "save_model",
]
