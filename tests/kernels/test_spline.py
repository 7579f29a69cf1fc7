"""Quintic splines: what they pass through, their derivatives, both implementations."""

import pytest
import torch
from torch import Tensor

from equinet_kernels import hermite_table, observe, radial_spline, tabulate, use
from equinet_kernels.tolerances import TOLERANCES, relative_error

SPACING, KNOTS = 0.25, 21
KNOT_POSITIONS = torch.arange(KNOTS, dtype=torch.float64) * SPACING
FREQUENCIES = torch.tensor([0.3, 0.9, 1.7], dtype=torch.float64)


def waves(r: Tensor, derivative: int) -> Tensor:
    """sin(f r) and its derivatives, [E, 3]."""
    phase = r.unsqueeze(1) * FREQUENCIES + derivative * torch.pi / 2
    return torch.sin(phase) * FREQUENCIES**derivative


def knots() -> Tensor:
    return torch.stack([waves(KNOT_POSITIONS, derivative) for derivative in range(3)], dim=1)


def table() -> Tensor:
    return hermite_table(knots()[:-1], knots()[1:], SPACING)


def lengths(number: int = 200) -> Tensor:
    return torch.rand(number, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * (KNOTS - 1) * SPACING


@pytest.mark.usefixtures("implementation")
def test_knots_are_met_with_two_derivatives():
    inner = KNOT_POSITIONS[:-1]
    for derivative in range(3):
        assert relative_error(radial_spline(inner, table(), SPACING, derivative), waves(inner, derivative)) < 1e-12


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(("derivative", "order"), [(0, 6), (1, 5), (2, 4)])
def test_error_falls_with_the_spacing(derivative, order):
    """By 2^(6 - derivative) when the spacing is halved."""
    found = []
    for halvings in (0, 1):
        spacing = SPACING / 2**halvings
        places = torch.arange((KNOTS - 1) * 2**halvings + 1, dtype=torch.float64) * spacing
        data = torch.stack([waves(places, n) for n in range(3)], dim=1)
        fine = hermite_table(data[:-1], data[1:], spacing)
        found.append(relative_error(radial_spline(lengths(), fine, spacing, derivative), waves(lengths(), derivative)))
    assert found[1] < 1e-5
    assert found[0] / found[1] == pytest.approx(2**order, rel=0.25)


@pytest.mark.usefixtures("implementation")
def test_nothing_beyond_the_last_interval():
    beyond = torch.tensor([(KNOTS - 1) * SPACING, 100.0], dtype=torch.float64, requires_grad=True)
    out = radial_spline(beyond, table(), SPACING)
    assert torch.equal(out, torch.zeros(2, 3, dtype=torch.float64))
    assert torch.equal(torch.autograd.grad(out.sum(), beyond)[0], torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("derivative", range(4))
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_compiled_equals_the_reference(derivative, dtype):
    with use("reference"):
        expected = radial_spline(lengths(), table(), SPACING, derivative)
    with use("cpu"), observe() as ran:
        found = radial_spline(lengths(), table().to(dtype), SPACING, derivative)
    assert ran == {("radial_spline", "cpu"): 1}
    assert found.dtype == dtype
    # rounding is amplified by the inverse of the spacing with every derivative but the first
    assert relative_error(found, expected) <= TOLERANCES[dtype] * SPACING ** min(0, 1 - derivative)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives_by_finite_differences(check):
    assert check(lambda r: radial_spline(r, table(), SPACING), (lengths(5).requires_grad_(),))


def test_torch_accepts_the_operator():
    torch.library.opcheck(torch.ops.equinet.radial_spline.default, (lengths(4).requires_grad_(), table(), SPACING, 0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lengths().float(), table(), SPACING, 0), "lengths must be float64"),
        ((lengths(), table()[:0], SPACING, 0), r"the table must be \[K, 6, C\] with an interval or more"),
        ((lengths(), table()[:, :2], SPACING, 0), r"the table must be \[K, 6, C\]"),
        ((lengths(), table().half(), SPACING, 0), "the table is torch.float16"),
        ((lengths(), table(), 0.0, 0), "spacing 0.0 must be positive"),
        ((lengths(), table(), SPACING, 4), "derivative 4 0..3"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        radial_spline(*arguments)


@pytest.mark.usefixtures("implementation")
def test_a_kink_keeps_each_side_its_own_curvature():
    """The function gains 3 (r - kink)^2 beyond the kink: value, slope and curvature are exact on both sides."""
    kink = 4 * SPACING
    beyond = (KNOT_POSITIONS - kink).clamp(min=0)[:, None]  # [knots, 1]
    curved = torch.stack([3 * beyond**2, 6 * beyond, 6 * (kink <= KNOT_POSITIONS).double()[:, None]], dim=1)
    from_left = torch.stack([3 * beyond**2, 6 * beyond, 6 * (kink < KNOT_POSITIONS).double()[:, None]], dim=1)
    broken = hermite_table((knots() + curved)[:-1], (knots() + from_left)[1:], SPACING)
    r = torch.cat([lengths(), torch.tensor([kink, kink - 1e-13, kink + 1e-13], dtype=torch.float64)])
    excess = (r - kink).clamp(min=0).unsqueeze(1)
    for derivative, added in enumerate([3 * excess**2, 6 * excess, 6.0 * (r >= kink).unsqueeze(1)]):
        expected = radial_spline(r, table(), SPACING, derivative) + added
        assert relative_error(radial_spline(r, broken, SPACING, derivative), expected) < 1e-9


@pytest.mark.usefixtures("implementation")
def test_slopes_in_single_precision_keep_its_digits():
    """However fine the intervals are: a spline kept as values at knots would lose them with the spacing."""
    fine = torch.arange(5001, dtype=torch.float64) * (5.0 / 5000)
    data = torch.stack([waves(fine, n) for n in range(3)], dim=1)
    polynomials = hermite_table(data[:-1], data[1:], 5.0 / 5000)
    slopes = radial_spline(lengths(), polynomials.float(), 5.0 / 5000, 1)
    assert relative_error(slopes, waves(lengths(), 1)) < 3e-7


def test_a_table_is_made_from_a_function_with_a_kink():
    kink = 6

    def function(r: Tensor) -> Tensor:
        excess = torch.where(r < kink * SPACING, torch.zeros_like(r), r - kink * SPACING)
        return torch.nn.functional.silu(waves(r, 0)) + 3 * excess.unsqueeze(1) ** 2

    made = tabulate(function, KNOTS - 1, SPACING, kink)
    r = lengths().clamp(min=SPACING).requires_grad_()
    assert relative_error(radial_spline(r, made, SPACING), function(r)) < 1e-5
    knots_beyond = KNOT_POSITIONS[1:-1]
    assert relative_error(radial_spline(knots_beyond, made, SPACING), function(knots_beyond)) < 1e-12
    assert made[0, 3:].abs().max() < 1e-12 < made[1, 3:].abs().max()  # a parabola in the first interval alone
