"""Real spherical harmonics."""

import pytest
import torch
from e3nn import o3
from torch import Tensor

from equinet_kernels import SphericalHarmonics
from equinet_kernels.tolerances import TOLERANCES, relative_error


def directions(number: int) -> Tensor:
    vectors = torch.randn(number, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return vectors / vectors.norm(dim=1, keepdim=True)


def with_axes(number: int) -> Tensor:
    axes = torch.eye(3, dtype=torch.float64)
    return torch.cat([directions(number), axes, -axes])


def of_e3nn(vectors: Tensor, l_max: int) -> Tensor:
    return o3.spherical_harmonics(list(range(l_max + 1)), vectors, normalize=False, normalization="component")


@pytest.mark.parametrize("l_max", range(7))
def test_values_are_those_of_e3nn(l_max):
    vectors = with_axes(50)
    ours = SphericalHarmonics(l_max)(vectors)
    assert ours.dtype == torch.float64
    assert (ours - of_e3nn(vectors, l_max)).abs().max() < 1e-10
    for l in range(l_max + 1):
        square = ours[:, l**2 : (l + 1) ** 2].square().sum(dim=1)
        assert (square - (2 * l + 1)).abs().max() < 1e-10


def test_first_degree_is_the_vector():
    vectors = directions(5)
    assert relative_error(SphericalHarmonics(1)(vectors)[:, 1:], vectors * 3**0.5) <= TOLERANCES[torch.float64]


def test_derivatives_are_those_of_e3nn():
    vectors = with_axes(20).requires_grad_()
    cotangent = torch.randn(len(vectors), 49, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    levels = []
    for function in (SphericalHarmonics(6), lambda v: of_e3nn(v, 6)):
        (first,) = torch.autograd.grad(function(vectors), vectors, cotangent, create_graph=True)
        levels.append((first, *torch.autograd.grad(first, vectors, cotangent[:, :3])))
    for ours, theirs in zip(*levels, strict=True):
        assert relative_error(ours, theirs) <= TOLERANCES[torch.float64]


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives_by_finite_differences(check):
    assert check(SphericalHarmonics(4), (directions(3).requires_grad_(),))


def test_single_precision():
    vectors = directions(100)
    ours = SphericalHarmonics(6, torch.float32)(vectors.float())
    assert ours.dtype == torch.float32
    assert relative_error(ours, of_e3nn(vectors, 6)) <= TOLERANCES[torch.float32]


def test_parity():
    vectors = directions(10)
    harmonics = SphericalHarmonics(5)
    for l in range(6):
        part = slice(l**2, (l + 1) ** 2)
        assert torch.equal(harmonics(-vectors)[:, part], (-1) ** l * harmonics(vectors)[:, part])


@pytest.mark.parametrize("edges", [0, 1])
def test_few_edges(edges):
    assert SphericalHarmonics(3)(directions(edges)).shape == (edges, 16)


def test_non_contiguous_vectors():
    vectors = directions(8)
    expected = SphericalHarmonics(3)(vectors)
    assert relative_error(SphericalHarmonics(3)(vectors.T.contiguous().T), expected) <= TOLERANCES[torch.float64]


def test_script_equals_eager():
    harmonics, vectors = SphericalHarmonics(4), directions(9)
    scripted = torch.jit.script(harmonics)
    for _ in range(3):
        assert relative_error(scripted(vectors), harmonics(vectors)) <= TOLERANCES[torch.float64]


def test_export_with_any_number_of_edges():
    harmonics = SphericalHarmonics(3)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(harmonics, (directions(4),), dynamic_shapes=shapes).module()
    for edges in (0, 1, 23):
        assert relative_error(program(directions(edges)), harmonics(directions(edges))) <= TOLERANCES[torch.float64]


@pytest.mark.parametrize("l_max", [-1, 7])
def test_degree_out_of_range(l_max):
    with pytest.raises(ValueError, match=r"l_max must be 0\.\.6"):
        SphericalHarmonics(l_max)
