"""The operators as torch knows them: schemas from one text file, kernels and derivatives registered by each operator.

``schemas.txt`` is read by Python and by the library for hosts without Python alike. Tensors and canonical strings
only, no handle into Python: a traced or exported model names an operator and carries all that it needs.
"""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import torch

NAMESPACE = "equinet"

_library = torch.library.Library(NAMESPACE, "FRAGMENT")
SCHEMAS = {
    schema.partition("(")[0]: schema
    for schema in files("equinet_kernels").joinpath("schemas.txt").read_text().splitlines()
}
"""Schema of each operator by its name."""


def _is_defined(name: str) -> bool:
    return bool(torch._C._dispatch_has_kernel(f"{NAMESPACE}::{name}")) or hasattr(getattr(torch.ops, NAMESPACE), name)


for _name, _schema in SCHEMAS.items():
    if not _is_defined(_name):  # the library for hosts without Python may have come first
        _library.define(_schema)


def register(
    name: str,
    fake: Callable[..., Any],
    backward: Callable[..., Any],
    setup_context: Callable[..., None] | None = None,
    **kernels: Callable[..., Any],
) -> None:
    """Register an operator's kernels, its shapes without data, and its derivative.

    Args:
        name: as in the schemas.
        fake: returns empty tensors of the right shapes, for tracing.
        backward: of the derivative, as :func:`torch.library.register_autograd` wants it.
        setup_context: what it saves.
        kernels: function for each kind of device, ``cpu=...``, ``cuda=...``.
    """
    for device, kernel in kernels.items():
        _library.impl(name, kernel, device.upper(), allow_override=True)
    qualified = f"{NAMESPACE}::{name}"
    torch.library.register_fake(qualified, fake, lib=_library)
    torch.library.register_autograd(qualified, backward, setup_context=setup_context, lib=_library)
