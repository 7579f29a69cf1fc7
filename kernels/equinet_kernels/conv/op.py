"""The convolution operator: one spec, one call, whichever implementation runs."""

import torch
from torch import Tensor

from equinet_kernels.conv import registration  # noqa: F401 (defines torch.ops.equinet.uvu_conv)
from equinet_kernels.conv.reference import ReferenceTables, reference_tables, uvu_conv_reference
from equinet_kernels.dispatch import choose, record
from equinet_kernels.operator import Operator
from equinet_kernels.spec import ConvSpec
from equinet_kernels.topology import EdgeTopology


class UVUConv(Operator):
    """Channel-wise equivariant convolution over the edges of a graph; the formula stands in :mod:`.reference`.

    It has no weights of its own: they come with each edge, from a radial network.

    Args:
        spec: coupling paths and layouts.
        dtype: of x, y, w and the result.
    """

    operator = "uvu_conv"
    coupling: Tensor
    row_paths: Tensor

    def __init__(self, spec: ConvSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec_string = str(spec)
        self.x_dim = spec.x.dim
        self.y_dim = spec.y_dim
        self.weight_dim = spec.weight_dim
        self.out = str(spec.out)
        tables = reference_tables(spec, dtype)
        # the tensors are buffers, to move with the module; the lists stay constants
        self.register_buffer("coupling", tables.coupling, persistent=False)
        self.register_buffer("row_paths", tables.row_paths, persistent=False)
        self.blocks = tables.blocks
        self.out_components = tables.out_components
        self.pieces = tables.pieces

    def forward(self, x: Tensor, y: Tensor, w: Tensor, topology: EdgeTopology) -> Tensor:
        """x [N, dim x], y [E, (l_max + 1)^2], w [E, sum_p C_p] -> [N, dim out].

        Raises:
            RuntimeError: a tensor's last dimension does not fit the spec.
            ValueError: other shapes, dtypes or devices that do not fit; a graph that is none.
        """
        if x.shape[1] != self.x_dim or y.shape[1] != self.y_dim or w.shape[1] != self.weight_dim:
            raise RuntimeError(
                f"uvu_conv wants x [N, {self.x_dim}], y [E, {self.y_dim}], w [E, {self.weight_dim}]; "
                f"got {x.shape}, {y.shape}, {w.shape}"
            )
        if torch.jit.is_scripting():
            if self.library_in_script:
                scripted: Tensor = torch.ops.equinet.uvu_conv(x, y, w, *topology, self.spec_string)
                return scripted
        else:
            if choose(self.operator, x.device.type)[0] != "reference":
                out: Tensor = torch.ops.equinet.uvu_conv(x, y, w, *topology, self.spec_string)
                return out
            record(self.operator, "reference")
        tables = ReferenceTables(self.coupling, self.row_paths, self.blocks, self.out_components, self.pieces)
        return uvu_conv_reference(x, y, w, topology.senders, topology.receivers, tables)
