"""From positions and cells to edge vectors."""

from equinet_kernels.geometry.op import EdgeVectors as EdgeVectors
from equinet_kernels.geometry.op import edge_vectors as edge_vectors
from equinet_kernels.geometry.reference import edge_vectors_reference as edge_vectors_reference
