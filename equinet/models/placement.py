"""Devices and precisions by the names a user gives them."""

import torch

from equinet.errors import InputError


def resolve_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """Turn "float32" or "float64" into a torch dtype.

    Raises:
        InputError: any other.
    """
    table = {"float32": torch.float32, "float64": torch.float64}
    resolved = table.get(dtype) if isinstance(dtype, str) else dtype
    if resolved not in table.values():
        raise InputError(f"dtype {dtype!r} is not supported; use float32 or float64")
    assert resolved is not None
    return resolved


def available_device(device: str | torch.device) -> torch.device:
    """Return the device if this machine has it, and equinet runs there.

    Raises:
        InputError: not a device's name, one that is neither a CPU nor a GPU of CUDA, or a GPU that is not there.
    """
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise InputError(f"{device!r} is not a device; use cpu, cuda or cuda:N") from None
    if resolved.type not in ("cpu", "cuda"):
        raise InputError(f"equinet does not run on the device {str(device)!r}; use cpu, cuda or cuda:N")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device} was asked for, but torch sees {torch.cuda.device_count()} GPU(s) here; use the device cpu"
        )
    return resolved
