"""Real spherical harmonics: every implementation."""

import pytest
import torch
from e3nn import o3
from torch import Tensor

from equinet_kernels import SphericalHarmonics, use
from equinet_kernels.tolerances import TOLERANCES, relative_error
from tests.kernels.derivatives import all_levels, normal

pytestmark = pytest.mark.usefixtures("implementation")


def directions(number: int) -> Tensor:
    vectors = normal(number, 3)
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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("l", range(7))
def test_all_levels_equal_e3nn_degree_by_degree(l, dtype):
    """A cotangent of one degree alone, so that no large one hides a small one; vectors off the unit sphere too."""
    vectors = torch.cat([with_axes(12), 1.5 * directions(3)]).to(dtype)
    cotangent = normal(len(vectors), (l + 1) ** 2, seed=9)
    cotangent[:, : l**2] = 0.0
    ours = all_levels(SphericalHarmonics(l, dtype), vectors, cotangent=cotangent)
    theirs = all_levels(lambda v: of_e3nn(v, l), vectors.double(), cotangent=cotangent)
    degree = slice(l**2, None)
    for name in ("result", "ddg"):
        assert relative_error(ours[name][:, degree], theirs[name][:, degree]) <= TOLERANCES[dtype], name
    for name in ("d0", "dd0"):
        assert relative_error(ours[name], theirs[name]) <= TOLERANCES[dtype], name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("l_max", range(7))
def test_all_levels_equal_the_reference(l_max, dtype):
    vectors = with_axes(31).to(dtype)
    ours = all_levels(SphericalHarmonics(l_max, dtype), vectors)
    with use("reference"):
        reference = all_levels(SphericalHarmonics(l_max), vectors.double())
    for name, expected in reference.items():
        assert relative_error(ours[name], expected) <= TOLERANCES[dtype], name


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize("l_max", [1, 4, 6])
def test_derivatives_by_finite_differences(check, l_max):
    assert check(SphericalHarmonics(l_max), (directions(3).requires_grad_(),))


def test_parity():
    vectors = directions(10)
    harmonics = SphericalHarmonics(5)
    for l in range(6):
        part = slice(l**2, (l + 1) ** 2)
        assert torch.equal(harmonics(-vectors)[:, part], (-1) ** l * harmonics(vectors)[:, part])


@pytest.mark.parametrize("edges", [0, 1])
def test_few_edges(edges):
    levels = all_levels(SphericalHarmonics(3), directions(edges))
    assert levels["result"].shape == levels["ddg"].shape == (edges, 16)
    assert levels["d0"].shape == levels["dd0"].shape == (edges, 3)


def strided(vectors: Tensor) -> Tensor:
    return vectors.T.contiguous().T


def misaligned(vectors: Tensor) -> Tensor:
    room = vectors.new_empty(vectors.numel() + 1)
    room[1:] = vectors.flatten()
    return room[1:].view(vectors.shape)


def expanded(vectors: Tensor) -> Tensor:
    return vectors[:1].expand(len(vectors), 3)


@pytest.mark.parametrize("layout", [strided, misaligned, expanded])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_any_layout_in_memory(layout, dtype):
    vectors = layout(directions(9).to(dtype))
    cotangent = strided(normal(9, 16, seed=3)).to(dtype)
    ours = all_levels(SphericalHarmonics(3, dtype), vectors, cotangent=cotangent)
    plain = all_levels(SphericalHarmonics(3, dtype), vectors.contiguous(), cotangent=cotangent.contiguous())
    for name, expected in plain.items():
        assert relative_error(ours[name], expected) <= TOLERANCES[dtype], name


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


def test_directions_in_another_dtype_are_refused():
    with pytest.raises(ValueError, match=r"harmonics made for torch.float64 got directions in torch.float32"):
        SphericalHarmonics(2)(directions(3).float())
