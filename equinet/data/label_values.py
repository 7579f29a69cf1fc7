"""A label's value as the file has it, checked and brought to one shape."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equinet.data.keys import Label
from equinet.errors import InputError

ASYMMETRY = 0.01
"""Largest antisymmetric part of a stress or virial, relative to its largest component."""


def checked_label(label: Label, value: Any, n: int, key: str, source: str) -> NDArray[np.float64]:
    """Return a label as a float array: energy [], forces [N, 3], stress and virial [3, 3].

    Args:
        label: which one.
        value: as the file has it; stress and virial as 6 (ASE's Voigt order), 9 or 3 x 3 numbers.
        n: number of atoms N.
        key: where it stood, for messages.
        source: file and frame, for messages.

    Raises:
        InputError: not a number, not finite, or of a wrong shape; a tensor that is not symmetric.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        shown = " ".join(str(value).split())[:40]
        raise InputError(f"{source}: {key!r} is not a number but {shown!r}; correct the file") from None
    if not np.isfinite(array).all():
        raise InputError(
            f"{source}: {key!r} has values that are not finite; correct or remove the frame, "
            "or leave the key out of it (labels are optional)"
        )
    shape = list(array.shape)
    if label == "energy":
        if array.size != 1:
            raise InputError(f"{source}: {key!r} must be one number, not an array of shape {shape}")
        return array.reshape(())
    if label == "forces":
        if array.shape != (n, 3):
            raise InputError(f"{source}: {key!r} must have the shape [{n}, 3], not {shape}; correct the file")
        return array
    if array.shape == (6,):  # ASE's Voigt order
        xx, yy, zz, yz, xz, xy = array
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if array.size != 9:
        raise InputError(f"{source}: {key!r} must have 6 (Voigt), 9 or 3 x 3 components, not the shape {shape}")
    full = array.reshape(3, 3)
    if np.abs(full - full.T).max() > ASYMMETRY * np.abs(full).max() + 1e-6:
        raise InputError(f"{source}: {key!r} is not symmetric; are its components in the order of rows?")
    return np.asarray(0.5 * (full + full.T))
