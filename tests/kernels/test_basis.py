"""Layouts and coupling constants."""

import pytest
import torch
from e3nn import o3

from equinet_kernels import Block, Layout, clebsch_gordan

TRIPLES = [(a, b, c) for a in range(5) for b in range(5) for c in range(abs(a - b), a + b + 1)]


def test_constants_are_those_of_e3nn():
    for triple in [*TRIPLES, (6, 6, 6), (5, 6, 1), (3, 6, 6)]:
        ours, theirs = clebsch_gordan(*triple), o3.wigner_3j(*triple, dtype=torch.float64)
        assert ours.dtype == torch.float64
        assert (ours - theirs).abs().max() < 1e-12, triple


def test_constants_are_orthonormal():
    """Over (m1, m2) the columns of all l3 together are an orthogonal basis of the product."""
    for l1 in range(5):
        for l2 in range(5):
            columns = [
                clebsch_gordan(l1, l2, l3).flatten(0, 1) * (2 * l3 + 1) ** 0.5
                for l3 in range(abs(l1 - l2), l1 + l2 + 1)
            ]
            basis = torch.cat(columns, dim=1)  # [(2 l1 + 1)(2 l2 + 1), same]
            assert (basis.T @ basis - torch.eye(basis.shape[1], dtype=torch.float64)).abs().max() < 1e-12


@pytest.mark.parametrize("triple", [(0, 0, 1), (1, 1, 3), (4, 1, 2), (1, 4, 2)])
def test_triangle_rule(triple):
    with pytest.raises(ValueError, match=r"no coupling .* does not hold"):
        clebsch_gordan(*triple)


def test_layout_is_read_and_written():
    layout = Layout.parse("64x0e+32x1o + 5x2e")
    assert layout == (Block(64, 0, 1), Block(32, 1, -1), Block(5, 2, 1))
    assert str(layout) == "64x0e+32x1o+5x2e"
    assert Layout.parse(str(layout)) == layout
    assert layout.dim == 64 + 3 * 32 + 5 * 5
    assert layout.offsets == [0, 64, 64 + 3 * 32]


def test_both_parities_of_one_degree():
    assert Layout.parse("1x1e+2x1o").offsets == [0, 3]


@pytest.mark.parametrize(
    "text", ["", "64", "64x", "x0e", "64x0", "64x0g", "-1x0e", "1.5x0e", "2x0e+", "2x0e,1x1o", "2xe"]
)
def test_what_is_no_layout_is_refused(text):
    with pytest.raises(ValueError, match="not a layout"):
        Layout.parse(text)


def test_an_irrep_occurs_once():
    with pytest.raises(ValueError, match="occurs twice"):
        Layout.parse("2x0e+1x1o+3x0e")
