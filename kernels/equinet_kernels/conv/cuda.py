"""The convolution by the compiled CUDA library (``csrc/cuda``): forward, backward, double backward.

For GPUs where Triton is not installed or falls short. Like the CPU library it has a plain C interface
(``csrc/cuda/api.h``) and knows nothing of torch; ``kernels/cuda_build.py`` makes it. Kernels are queued on torch's
current stream and take scratch memory from torch: nothing waits, and graphs can be captured once a specification has
run.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from equinet_kernels import native
from equinet_kernels.spec import ConvSpec
from equinet_kernels.topology import EdgeTopology

ABI_VERSION = 1
PATH = native.FOLDER / "libequinet_cuda.so"

_DTYPES = {torch.float32: 0, torch.float64: 1}
_LEVELS = {"uvu_conv": 0, "uvu_conv_backward": 1, "uvu_conv_double_backward": 2}
_TENSORS = {"uvu_conv": 4, "uvu_conv_backward": 7, "uvu_conv_double_backward": 11}
_TEXT, _CODE, _COUNT, _POINTER = ctypes.c_char_p, ctypes.c_int, ctypes.c_int64, ctypes.c_void_p


def prepare(path: str) -> ctypes.CDLL:
    """Load a library and declare its functions.

    Raises:
        OSError: it does not load, or is none of ours.
    """
    library = ctypes.CDLL(path)
    try:
        version = library.equinet_cuda_abi_version()
        library.equinet_cuda_last_error.restype = _TEXT
        library.equinet_cuda_uvu_conv_scratch.argtypes = [_TEXT, _CODE, _CODE, _COUNT, _POINTER]
        library.equinet_cuda_uvu_conv_describe.argtypes = [_TEXT, _CODE, _CODE, _TEXT, _COUNT]
        for name, tensors in _TENSORS.items():
            pointers = len(EdgeTopology._fields) + tensors + (2 if _LEVELS[name] else 1)  # scratch, stream
            getattr(library, f"equinet_cuda_{name}").argtypes = [_TEXT, _CODE, _COUNT, _COUNT] + pointers * [_POINTER]
    except AttributeError as error:
        raise OSError(str(error)) from error
    if version != ABI_VERSION:
        raise OSError("it is of another version of this package; build it again: python kernels/cuda_build.py")
    return library


def _load() -> tuple[ctypes.CDLL | None, str]:
    """The library, and a sentence on what it is, or why there is none."""
    if not PATH.is_file():
        return None, f"there is no {PATH}; with nvcc: python kernels/cuda_build.py"
    try:
        return prepare(str(PATH)), "compiled CUDA C++"
    except OSError as error:
        return None, f"{PATH.name} does not load: {error}"


LIBRARY, REASON = _load()
"""The loaded library or None, and what it is or why there is none."""


def _checked(function: str, error: int) -> None:
    if error:
        assert LIBRARY is not None
        raise RuntimeError(f"{function} on CUDA: {LIBRARY.equinet_cuda_last_error().decode()}")


def _stream(tensor: Tensor) -> int:
    """Address of the stream to queue on; the library compiled for the CPU, which tests have, knows none."""
    return torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else 0


def _call(function: str, topology: EdgeTopology, spec: ConvSpec, x: Tensor, *tensors: Tensor) -> None:
    """Call a function; x says device, dtype and number of nodes, tensors are its arguments in their order."""
    assert LIBRARY is not None, REASON
    assert len(tensors) == _TENSORS[function]
    assert all(tensor.is_contiguous() for tensor in (*topology, *tensors)), "kernels read dense rows"
    text, dtype, level, edges = str(spec).encode(), _DTYPES[x.dtype], _LEVELS[function], topology.senders.shape[0]
    pointers = [tensor.data_ptr() for tensor in (*topology, *tensors)]
    if level:
        needed = _COUNT()
        _checked(function, LIBRARY.equinet_cuda_uvu_conv_scratch(text, dtype, level, edges, ctypes.byref(needed)))
        scratch = torch.empty(needed.value, dtype=torch.uint8, device=x.device)
        pointers.append(scratch.data_ptr())
    call: Any = getattr(LIBRARY, f"equinet_cuda_{function}")
    _checked(function, call(text, dtype, x.shape[0], edges, *pointers, _stream(x)))


def describe(spec: ConvSpec, dtype: torch.dtype, level: int) -> list[dict[str, int]]:
    """How the work is divided: the fields of ``csrc/cuda/groups.h`` for each group of paths, in order.

    Args:
        spec: of the convolution.
        dtype: float32 or float64.
        level: 0 for forward, 1 for backward, 2 for double backward.
    """
    assert LIBRARY is not None, REASON
    text = ctypes.create_string_buffer(1 << 16)
    error = LIBRARY.equinet_cuda_uvu_conv_describe(str(spec).encode(), _DTYPES[dtype], level, text, len(text))
    _checked("describe", error)
    lines = text.value.decode().splitlines()
    return [{name: int(value) for name, value in (item.split("=") for item in line.split())} for line in lines]


def forward(x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec) -> Tensor:
    """x [N, dim x], y [E, (l_max + 1)^2], w [E, sum_p C_p] -> [N, dim out]. All contiguous, on one GPU."""
    out = x.new_empty(x.shape[0], spec.out.dim)
    _call("uvu_conv", topology, spec, x, *(x, y, w), out)
    return out


def backward(
    g: Tensor, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, y and w, given g, that of the result."""
    dx, dy, dw = x.new_empty(x.shape), y.new_empty(y.shape), w.new_empty(w.shape)
    _call("uvu_conv_backward", topology, spec, x, *(g, x, y, w), *(dx, dy, dw))
    return dx, dy, dw


def double_backward(
    x_dot: Tensor, y_dot: Tensor, w_dot: Tensor,
    g: Tensor, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology, spec: ConvSpec,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of g, x, y and w, given x_dot, y_dot and w_dot, those of the results of :func:`backward`."""
    results = g.new_empty(g.shape), x.new_empty(x.shape), y.new_empty(y.shape), w.new_empty(w.shape)
    _call("uvu_conv_double_backward", topology, spec, x, *(x_dot, y_dot, w_dot, g, x, y, w), *results)
    return results
