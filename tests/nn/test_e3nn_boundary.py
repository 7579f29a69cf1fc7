"""Our linear map equals e3nn's, fed through the boundary."""

import pytest
import torch
from e3nn import o3

from equinet.nn import EquivariantLinear
from equinet.nn.e3nn_boundary import from_e3nn, from_irreps, to_e3nn, to_irreps
from equinet_kernels import Layout

LAYOUT = Layout.parse("5x0e+3x1o+2x2e+4x1e")


def test_there_and_back() -> None:
    x = torch.randn(7, LAYOUT.dim, dtype=torch.float64)
    assert torch.equal(from_e3nn(to_e3nn(x, LAYOUT), LAYOUT), x)
    assert not torch.equal(to_e3nn(x, LAYOUT), x)
    assert from_irreps(to_irreps(LAYOUT)) == LAYOUT
    assert str(to_irreps(LAYOUT)) == str(LAYOUT)
    with pytest.raises(ValueError, match="occurs twice"):
        from_irreps("2x1o+3x1o")


def test_linear_equals_e3nn() -> None:
    ours = EquivariantLinear(LAYOUT, LAYOUT, torch.float64)
    theirs = o3.Linear(to_irreps(LAYOUT), to_irreps(LAYOUT)).double()
    with torch.no_grad():
        theirs.weight.copy_(torch.cat([weight.flatten() for weight in ours.weights]))
    x = torch.randn(7, LAYOUT.dim, dtype=torch.float64)
    found, expected = ours(x), from_e3nn(theirs(to_e3nn(x, LAYOUT)), LAYOUT)
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()  # e3nn keeps 1 / sqrt(C) in float32
    assert (found - expected).abs().max() < (ours(x) - x).abs().max()
