"""The convolution in Triton: source generated from the specification, kept on disk, launched on a GPU.

``plan`` divides the work, ``group`` and ``source`` write it down as Triton code, ``cache`` keeps that code as modules,
and ``launch`` runs it. Triton is imported when a kernel is launched, never before.
"""
