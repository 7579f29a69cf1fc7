"""Which implementation of an operator runs, and why: never silent."""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import nn

from equinet_kernels import native

IMPLEMENTATIONS = ("auto", "reference", "cpu", "triton", "cuda", "torch_scatter")

_ON_CPUS_ALONE = ("radial_uvu_conv", "tabulated_uvu_conv", "radial_spline")
"""Operators that a GPU composes of others: no kernel of their own there yet."""


class Choice(NamedTuple):
    """One operator of a model."""

    module: str  # where in the model
    operator: str
    implementation: str
    reason: str


@dataclass
class _Policy:
    """What was asked for."""

    implementation: str
    strict: bool
    debug: bool


def _switch(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


_policy = _Policy(
    os.environ.get("EQUINET_KERNELS", "auto"), _switch("EQUINET_KERNELS_STRICT"), _switch("EQUINET_KERNELS_DEBUG")
)
if _policy.implementation not in IMPLEMENTATIONS:
    raise ValueError(f"EQUINET_KERNELS is {_policy.implementation!r}; it must be one of {', '.join(IMPLEMENTATIONS)}")

FALLBACK = "fallback: "
"""How the reason begins where a fast implementation should run and cannot."""


@contextmanager
def use(implementation: str | None = None, *, strict: bool | None = None, debug: bool | None = None) -> Iterator[None]:
    """Choose how operators run within a block, in all threads.

    Args:
        implementation: "auto" (the fastest for the device), "reference", "cpu", "triton", "cuda" (CUDA C++, for the
            convolution) or "torch_scatter" (an extra, for sums over segments); with the last two, operators that have
            no such implementation run as with "auto". Outside of such blocks the environment variable EQUINET_KERNELS
            says it.
        strict: raise instead of falling back to the reference (EQUINET_KERNELS_STRICT=1).
        debug: check all that operators rely on, whatever it costs (EQUINET_KERNELS_DEBUG=1).

    Raises:
        ValueError: no such implementation.
    """
    global _policy
    if implementation is not None and implementation not in IMPLEMENTATIONS:
        raise ValueError(f"no implementation {implementation!r}; there are {', '.join(IMPLEMENTATIONS)}")
    before = _policy
    _policy = _Policy(
        before.implementation if implementation is None else implementation,
        before.strict if strict is None else strict,
        before.debug if debug is None else debug,
    )
    try:
        yield
    finally:
        _policy = before


def debugging() -> bool:
    """Whether costly checks are on."""
    return _policy.debug


@cache
def _triton_missing() -> str:
    """Why Triton cannot be used, or nothing."""
    return "" if find_spec("triton") else "triton is not installed (pip install triton)"


def _torch_scatter(operator: str) -> tuple[str, str]:
    if not find_spec("torch_scatter"):
        raise RuntimeError(f"{operator}: torch_scatter is not installed (pip install 'equinet-mlip[scatter]')")
    return "torch_scatter", "asked for"


def _compiled_cuda(operator: str) -> tuple[str, str]:
    """Why the CUDA library cannot run an operator, or nothing; and what it is."""
    if operator != "uvu_conv":
        return "it has no kernel in CUDA C++", ""
    from equinet_kernels.conv import cuda  # it needs the specification, which is above this module

    return ("" if cuda.LIBRARY else cuda.REASON), cuda.REASON


def _on_gpu(operator: str, wanted: str) -> tuple[str, str, str]:
    """The fast implementation for a GPU, what stands in its way (or nothing), and the reason for it."""
    missing, compiled = _triton_missing(), _compiled_cuda(operator)
    if wanted == "cuda" or (wanted == "auto" and missing and not compiled[0]):
        return "cuda", *compiled
    return "triton", missing, "generated for the specification" if operator == "uvu_conv" else "for every kind of GPU"


def kernels_on_gpu(operator: str) -> str:
    """Name the fast implementation for a GPU, for an operator that is called as such, whatever models are told to use.

    Raises:
        RuntimeError: there is none here.
    """
    fast, obstacle, _ = _on_gpu(operator, "cuda" if _policy.implementation == "cuda" else "auto")
    if obstacle:
        raise RuntimeError(f"{operator} has no kernel for GPUs here: {obstacle}")
    return fast


def choose(operator: str, device: str) -> tuple[str, str]:
    """Name the implementation that runs for tensors on a kind of device, and the reason.

    Raises:
        RuntimeError: the one asked for cannot run there, or (strict) a fallback would run.
    """
    wanted = _policy.implementation
    if wanted == "torch_scatter":
        if operator in ("segment_sum", "segment_gather"):
            return _torch_scatter(operator)
        wanted = "auto"
    if wanted == "cuda" and operator != "uvu_conv":
        wanted = "auto"
    if wanted == "reference":
        return "reference", "asked for"
    if device == "cpu":
        fast, obstacle, reason = "cpu", "" if native.LIBRARY else native.REASON, native.REASON
    elif device == "cuda" and operator in _ON_CPUS_ALONE:
        return "reference", "composed of other operators: no kernel of its own on GPUs"
    elif device == "cuda":
        fast, obstacle, reason = _on_gpu(operator, wanted)
    else:
        fast, obstacle, reason = "none", f"there is no kernel for devices of the kind {device}", ""
    if wanted not in ("auto", fast):
        raise RuntimeError(f"{operator}: {wanted} was asked for, but tensors on {device} run on {fast}")
    if not obstacle:
        return fast, reason
    if wanted == fast or _policy.strict:
        raise RuntimeError(f"{operator} would run on the reference: {obstacle}")
    _warn_once(obstacle)
    return "reference", FALLBACK + obstacle


@cache
def _warn_once(obstacle: str) -> None:
    warnings.warn(f"equinet_kernels: plain torch stands in for fast kernels: {obstacle}")


def explain(model: nn.Module, strict: bool = False) -> list[Choice]:
    """Name the implementation of every operator in a model and the reason for it.

    Args:
        model: on the device in question.
        strict: raise if any operator falls back to the reference.

    Returns:
        A row for each operator, in the order of the model: modules say it as ``operator``.

    Raises:
        RuntimeError: see ``strict``.
    """
    rows = []
    device = next((buffer.device.type for buffer in model.buffers()), "cpu")
    with use(strict=strict or None):
        for name, module in model.named_modules():
            operator = getattr(module, "operator", None)
            if isinstance(operator, str):
                rows.append(Choice(name, operator, *choose(operator, device)))
    return rows


_observers: list[Counter[tuple[str, str]]] = []


@contextmanager
def observe() -> Iterator[Counter[tuple[str, str]]]:
    """Count what really runs within a block: calls by (operator, implementation)."""
    counter: Counter[tuple[str, str]] = Counter()
    _observers.append(counter)
    try:
        yield counter
    finally:
        _observers.remove(counter)


def record(operator: str, implementation: str) -> None:
    """Count one call: every implementation says so when it runs."""
    if not torch.compiler.is_compiling():
        for counter in _observers:
            counter[operator, implementation] += 1
