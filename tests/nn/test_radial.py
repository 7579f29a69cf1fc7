"""Functions of the distance, and activations: values at the ends, smoothness, normalisation."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, nn

from equinet.nn import BesselBasis, NormalizedActivation, PolynomialEnvelope, RadialNetwork, XPLOREnvelope
from equinet_kernels.tolerances import TOLERANCES, relative_error

CUTOFF, ONSET = 4.5, 3.6
ENVELOPES: dict[str, nn.Module] = {
    **{f"polynomial {power}": PolynomialEnvelope(CUTOFF, power) for power in (2, 3, 6, 12)},
    "xplor": XPLOREnvelope(CUTOFF, ONSET),
}
POLYNOMIALS = [name for name in ENVELOPES if "polynomial" in name]


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def derivatives(function: nn.Module, at: float) -> list[float]:
    """Value, first, second derivative."""
    r = numbers(at).requires_grad_()
    value = function(r)
    (first,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    return [value.item(), first.item(), second.item()]


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_envelope_goes_from_one_to_zero(envelope):
    assert float(envelope(numbers(0.0))) == 1.0
    assert not envelope(numbers(CUTOFF, CUTOFF + 1e-12, CUTOFF + 1.0, 10 * CUTOFF)).any()  # exactly 0, also of -0
    inside = envelope(torch.linspace(0.01, CUTOFF - 1e-3, 500, dtype=torch.float64))
    assert (inside > 0).all()
    assert (inside <= 1).all()
    assert (inside.diff() <= 0).all()


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_first_derivative_is_continuous(envelope):
    for seam in (ONSET, CUTOFF):
        below, above = derivatives(envelope, seam - 1e-7), derivatives(envelope, seam + 1e-7)
        assert below[:2] == pytest.approx(above[:2], abs=1e-4)
    assert derivatives(envelope, CUTOFF + 0.1) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_second_derivative_of_the_polynomial_is_continuous(name):
    assert derivatives(ENVELOPES[name], CUTOFF - 1e-7) == pytest.approx([0.0, 0.0, 0.0], abs=1e-4)


def test_second_derivative_of_xplor_jumps():
    """So that its documentation, which says so, stays true."""
    assert abs(derivatives(ENVELOPES["xplor"], CUTOFF - 1e-7)[2]) > 0.1


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_derivatives_of_the_envelope_by_finite_differences(envelope):
    r = torch.linspace(0.3, CUTOFF - 0.05, 12, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(envelope, (r,))
    assert torch.autograd.gradgradcheck(envelope, (r,))


def test_polynomial_as_in_the_paper():
    """arXiv:2003.03123, eq. 8, at p = 6: 1 - 28 x^6 + 48 x^7 - 21 x^8."""
    x = torch.linspace(0, 0.99, 50, dtype=torch.float64)
    expected = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    assert relative_error(PolynomialEnvelope(CUTOFF, 6)(x * CUTOFF), expected) <= TOLERANCES[torch.float64]


def test_xplor_is_one_up_to_its_onset():
    envelope = ENVELOPES["xplor"]
    assert (envelope(torch.linspace(0, ONSET, 50, dtype=torch.float64)) == 1).all()
    assert float(envelope(numbers(ONSET + 0.05))) < 1


class One(nn.Module):
    """No envelope."""

    def forward(self, lengths: Tensor) -> Tensor:
        return torch.ones_like(lengths)


def test_bessel_functions_are_orthogonal():
    """Over the ball of the cutoff, with norm 2 / rc by NequIP's prefactor."""
    basis = BesselBasis(4, CUTOFF, One())

    def product(r: float, n: int, m: int) -> float:
        values = basis(numbers(r))[0]
        return float(values[n] * values[m]) * r**2

    for n in range(4):
        for m in range(n + 1):
            integral = quad(product, 0, CUTOFF, args=(n, m))[0]
            assert integral == pytest.approx(2 / CUTOFF if n == m else 0.0, abs=1e-8)


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_bessel_values_and_end(envelope):
    lengths = numbers(0.7, 2.1, CUTOFF - 0.01, CUTOFF, CUTOFF + 1.0)
    out = BesselBasis(5, CUTOFF, envelope)(lengths)
    assert out.shape == (5, 5)
    assert out.dtype == torch.float64
    assert not out[3:].any()
    for row, r in zip(out, lengths.tolist(), strict=True):
        for n, value in enumerate(row.tolist(), start=1):
            wave = 2 / CUTOFF * math.sin(n * math.pi * r / CUTOFF) / r
            assert value == pytest.approx(wave * float(envelope(numbers(r))), abs=1e-14)


def test_bessel_near_zero_and_without_edges():
    basis = BesselBasis(3, CUTOFF, ENVELOPES["polynomial 6"])
    assert basis(numbers()).shape == (0, 3)
    limit = 2 / CUTOFF * math.pi * np.arange(1, 4) / CUTOFF
    assert basis(numbers(1e-4))[0].tolist() == pytest.approx(limit.tolist(), rel=1e-6)


def test_bessel_frequencies_are_trained_when_asked():
    for trainable in (True, False):
        basis = BesselBasis(3, CUTOFF, ENVELOPES["xplor"], trainable)
        assert [p.requires_grad for p in basis.parameters()] == [trainable]
        assert basis.frequencies.tolist() == pytest.approx([math.pi, 2 * math.pi, 3 * math.pi])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_radial_network_of_zero_is_zero(dtype):
    """Else messages would jump where a neighbour crosses the cutoff."""
    network = RadialNetwork([8, 16, 16, 5], dtype)
    assert not network(torch.zeros(3, 8, dtype=dtype)).any()
    out = network(torch.ones(3, 8, dtype=dtype))
    assert out.dtype == dtype
    assert out.shape == (3, 5)
    assert out.all()


def test_radial_network_by_hand():
    network = RadialNetwork([4, 6, 3], torch.float64)
    x = torch.randn(7, 4, dtype=torch.float64)
    first, second = network.weights
    expected = NormalizedActivation("silu")(x @ first / 2.0) @ second / 6**0.5
    assert relative_error(network(x), expected) <= TOLERANCES[torch.float64]


def test_radial_network_keeps_unit_second_moment():
    out = RadialNetwork([64, 512, 512, 256], torch.float64)(torch.randn(500, 64, dtype=torch.float64))
    assert out.square().mean().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", ["silu", "tanh"])
def test_activation_has_unit_second_moment(name):
    activation = NormalizedActivation(name)

    def weighted_square(z: float) -> float:
        return float(activation(numbers(z))) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    assert quad(weighted_square, -12, 12, epsabs=1e-12)[0] == pytest.approx(1.0, abs=1e-8)


def test_activations_are_the_ones_named():
    z = torch.linspace(-3, 3, 13, dtype=torch.float64)
    silu, tanh = NormalizedActivation("silu"), NormalizedActivation("tanh")
    assert relative_error(silu(z), silu.factor * z / (1 + (-z).exp())) <= TOLERANCES[torch.float64]
    assert relative_error(tanh(-z), -tanh(z)) <= TOLERANCES[torch.float64]  # odd: the sign of an odd scalar survives
    with pytest.raises(ValueError, match="silu or tanh, got 'relu'"):
        NormalizedActivation("relu")


SCRIPTED = {
    **ENVELOPES,
    "bessel": BesselBasis(5, CUTOFF, ENVELOPES["polynomial 6"]),
    "silu": NormalizedActivation("silu"),
    "tanh": NormalizedActivation("tanh"),
}


@pytest.mark.parametrize("module", SCRIPTED.values(), ids=SCRIPTED)
def test_script_equals_eager(module):
    lengths = numbers(0.5, 2.0, 3.9, 4.6)
    scripted = torch.jit.script(module)
    for _ in range(3):
        assert relative_error(scripted(lengths), module(lengths)) <= TOLERANCES[torch.float64]


def test_scripted_network_equals_eager():
    network, x = RadialNetwork([4, 6, 3], torch.float64), torch.randn(7, 4, dtype=torch.float64)
    assert relative_error(torch.jit.script(network)(x), network(x)) <= TOLERANCES[torch.float64]
