"""What operators' modules have in common: in Python an implementation is chosen at each call, in TorchScript once."""

import torch
from torch import nn


class Operator(nn.Module):
    """An operator of :mod:`equinet_kernels` as a module.

    Attributes:
        operator: its name among ``torch.ops.equinet``, for :func:`equinet_kernels.explain`.
        library_in_script: whether its TorchScript form calls ``torch.ops.equinet`` (and then needs libequinet_ops or
            this package where it runs), or plain torch. A constant of the script: the other way is not in the file.
    """

    operator: str
    __constants__ = ("library_in_script",)

    def __init__(self) -> None:
        super().__init__()
        self.library_in_script = False


def script(model: nn.Module, library: bool = False) -> torch.jit.ScriptModule:
    """Compile a model to TorchScript.

    Args:
        model: left as it is.
        library: whether its operators are those of the compiled library, which any process loads that runs the script
            (``libequinet_ops.so``, or ``import equinet_kernels``). Else the script runs on torch alone, slower.

    Raises:
        RuntimeError: torch cannot compile it.
    """
    operators = [module for module in model.modules() if isinstance(module, Operator)]
    for operator in operators:
        operator.library_in_script = library
    try:
        return torch.jit.script(model)
    finally:
        for operator in operators:
            operator.library_in_script = False
