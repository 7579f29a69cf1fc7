"""The operators as torch knows them: schemas from one text file, kernels and derivatives registered by each operator.

``schemas.txt`` is read by Python and by the library for hosts without Python alike. Tensors and canonical strings
only, no handle into Python: a traced or exported model names an operator and carries all that it needs.
"""

import warnings
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import torch
from torch._library.triton import set_wrap_triton_enabled
from torch._subclasses.functional_tensor import FunctionalTensorMode

NAMESPACE = "equinet"

_library = torch.library.Library(NAMESPACE, "FRAGMENT")
SCHEMAS = {
    schema.partition("(")[0]: schema
    for schema in files("equinet_kernels").joinpath("schemas.txt").read_text().splitlines()
}
"""Schema of each operator by its name."""


def _is_defined(name: str) -> bool:
    return bool(torch._C._dispatch_has_kernel(f"{NAMESPACE}::{name}")) or hasattr(getattr(torch.ops, NAMESPACE), name)


_FOREIGN = {name for name in SCHEMAS if _is_defined(name)}
"""What the library for hosts without Python, loaded first, has defined."""

for _name, _schema in SCHEMAS.items():
    if _name not in _FOREIGN:
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
    qualified = f"{NAMESPACE}::{name}"
    with warnings.catch_warnings():
        if name in _FOREIGN:  # its kernels are the same, but its derivatives end with the first: ours replace them all
            warnings.filterwarnings("ignore", "(?s).*Overriding a previously registered kernel", UserWarning)
        for device, kernel in kernels.items():
            run = _eager(kernel) if device == "cuda" else kernel
            _library.impl(name, run, device.upper(), allow_override=True)
        if "cuda" in kernels:
            decomposition = _decomposition(kernels["cuda"])
            torch.library.register_torch_dispatch(qualified, FunctionalTensorMode, decomposition, lib=_library)
        torch.library.register_fake(qualified, fake, lib=_library, allow_override=True)
        torch.library.register_autograd(qualified, backward, setup_context=setup_context, lib=_library)


def register_plain(name: str, function: Callable[..., None]) -> None:
    """Register an operator without tensors.

    Args:
        name: as in the schemas.
        function: what it does.
    """
    with warnings.catch_warnings():
        if name in _FOREIGN:
            warnings.filterwarnings("ignore", "(?s).*Overriding a previously registered kernel", UserWarning)
        _library.impl(name, function, "CompositeImplicitAutograd", allow_override=True)


def _eager(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Launch Triton's kernels at once: the way that a trace can see costs a millisecond a call."""

    def run(*arguments: Any) -> Any:
        with set_wrap_triton_enabled(False):
            return kernel(*arguments)

    return run


def _decomposition(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """What ``torch.library.triton_op`` does for its operators, for one that has kernels for other devices too: where
    torch compiles for a GPU, it sees the Triton kernels themselves, so that AOTInductor can embed them. An exported
    program keeps the operator."""

    def decompose(mode: Any, operator: Any, types: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        from torch.export._trace import custom_triton_ops_decomposition_disabled  # two seconds: not with the package

        device = next(argument.device.type for argument in arguments if isinstance(argument, torch.Tensor))
        if device != "cuda" or custom_triton_ops_decomposition_disabled():
            return mode.__torch_dispatch__(operator, types, arguments, keywords)
        with mode:
            return kernel(*arguments, **keywords)

    return decompose
