"""What operators ask of their arguments, in one wording. Looks at shapes, dtypes and devices, never at values."""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_numbers(operator: str, **tensors: Tensor) -> None:
    """Check that all are float32 or all float64, on one device.

    Raises:
        ValueError: naming the first that is not.
    """
    first, example = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if tensor.dtype != example.dtype or tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{operator}: {name} is {tensor.dtype}; numbers must be all float32 or all float64")
        if tensor.device != example.device:
            raise ValueError(f"{operator}: {name} is on {tensor.device}, {first} on {example.device}")


def check_indices(operator: str, device: torch.device, **tensors: Tensor) -> None:
    """Check that all are int64, on the device of the numbers.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, tensor in tensors.items():
        if tensor.dtype != torch.int64:
            raise ValueError(f"{operator}: {name} is {tensor.dtype}; it must be int64")
        if tensor.device != device:
            raise ValueError(f"{operator}: {name} is on {tensor.device}, the numbers on {device}")


def check_shape(operator: str, name: str, tensor: Tensor, wanted: Sequence[int]) -> None:
    """Check a shape.

    Args:
        operator: whose argument it is.
        name: of the argument.
        tensor: the argument.
        wanted: its shape; -1 where any number will do.

    Raises:
        ValueError: it has another.
    """
    fits = len(wanted) == tensor.dim() and all(
        want in (-1, size) for want, size in zip(wanted, tensor.shape, strict=True)
    )
    if not fits:
        text = ", ".join("any" if want == -1 else str(want) for want in wanted)
        raise ValueError(f"{operator}: {name} must be [{text}], got {list(tensor.shape)}")
