"""What every model must do, now and later, in float64 and float32."""

import numpy as np
import pytest
import torch
from ase import Atoms

from equinet.data import graph_from_atoms
from equinet.errors import InputError
from equinet.graph import AtomicGraph, build_graph, collate
from equinet.models import NequIPArchitecture, Potential, load_model, save_model
from equinet.simulate import Calculator
from equinet.simulate.structures import BUILDERS
from equinet.simulate.verify import PRECISIONS, Check, conservation, gradients, symmetry
from equinet_kernels import script
from tests.models.conftest import POTENTIALS, SPECIES


def precision_of(potential: Potential):
    return PRECISIONS[str(potential.dtype).removeprefix("torch.")]


def demand(check: Check) -> None:
    assert check.passed, f"{check.name}: {check.value:.2e} > {check.threshold:.0e} {check.unit} ({check.detail})"


@pytest.fixture(params=list(BUILDERS))
def atoms(request: pytest.FixtureRequest) -> Atoms:
    return BUILDERS[request.param](SPECIES, 0)


def test_symmetries(potential: Potential, name: str, atoms: Atoms) -> None:
    calculator, precision = Calculator(potential), precision_of(potential)
    demand(symmetry.rotation(calculator, atoms, precision))
    demand(symmetry.translation(calculator, atoms, precision))
    demand(symmetry.permutation(calculator, atoms, precision))
    demand(symmetry.extensivity(calculator, atoms, precision))
    reflected = symmetry.reflection(calculator, atoms, precision)
    if name == "nequip-so3":
        assert not reflected.passed, "parity none must not claim reflection symmetry"
    else:
        demand(reflected)


def test_forces_and_virial_are_gradients(potential: Potential, atoms: Atoms) -> None:
    calculator, precision = Calculator(potential), precision_of(potential)
    demand(gradients.forces_are_gradients(calculator, atoms, precision, components=6))
    demand(gradients.virial_is_gradient(calculator, atoms, precision))


def test_stress_only_of_three_dimensional_cells(double: Potential, atoms: Atoms) -> None:
    prediction = double(graph_from_atoms(atoms, double.cutoff))
    if atoms.pbc.all():
        volume = abs(np.linalg.det(atoms.cell.array))
        assert torch.allclose(prediction.stress, -prediction.virial / volume, rtol=1e-12)
        assert prediction.stress.abs().max() > 1e-4
    else:
        assert prediction.stress.isnan().all()
        assert prediction.virial.abs().max() > 1e-2


def test_batch_equals_singles(potential: Potential) -> None:
    graphs = [graph_from_atoms(build(SPECIES, 1), potential.cutoff) for build in BUILDERS.values()]
    together = potential(collate(graphs))
    tolerance = 1e-12 if potential.dtype == torch.float64 else 2e-6
    singles = [potential(graph) for graph in graphs]
    for field in ("energy", "atom_energies", "forces", "virial", "stress", "features"):
        expected = torch.cat([getattr(single, field) for single in singles])
        found = getattr(together, field)
        defined = ~expected.isnan()
        assert torch.equal(found.isnan(), expected.isnan())
        assert (found - expected)[defined].abs().max() <= tolerance * expected[defined].abs().max(), field
    assert together.member_energies.shape == (1, len(graphs))


def test_isolated_atom_has_its_reference_energy(potential: Potential) -> None:
    """Alone, in a batch, and beyond the cutoff; exactly E0 where the architecture's own answer is subtracted."""
    alone = [build_graph(np.zeros((1, 3)), [z], np.zeros((3, 3)), [False] * 3, potential.cutoff) for z in SPECIES]
    far = build_graph(
        [[0.0, 0, 0], [0, 0, potential.cutoff + 1e-6], [0, 2 * potential.cutoff, 0]],
        SPECIES, np.zeros((3, 3)), [False] * 3, potential.cutoff,
    )  # fmt: skip
    # edges longer than the cutoff, as a list with a skin has them
    skin = build_graph(far.positions.numpy(), SPECIES, np.zeros((3, 3)), [False] * 3, 2.5 * potential.cutoff)
    assert skin.senders.numel() == 6
    bulk = graph_from_atoms(BUILDERS["bulk"](SPECIES, 0), potential.cutoff)
    batch = collate([alone[0], bulk, *alone[1:]])
    isolated = potential.isolated_energies
    found = {
        "alone": torch.cat([potential(graph).energy for graph in alone]),
        "in a batch": potential(batch).energy[[0, 2, 3]],
        "beyond the cutoff": potential(far).atom_energies,
        "within a skin": potential(skin).atom_energies,
    }
    for where, energies in found.items():
        if potential.subtract_isolated:
            assert torch.equal(energies, potential.reference_energies), where
        tolerance = 1e-12 if potential.dtype == torch.float64 else 1e-6
        assert (energies - isolated).abs().max() <= tolerance * isolated.abs().max(), where
    assert torch.equal(potential(far).forces, torch.zeros(3, 3, dtype=torch.float64))


def test_smooth_at_the_cutoff(double: Potential, name: str) -> None:
    """An atom that leaves: energy continuous, and first (xplor) or first and second (polynomial) derivatives."""
    base = BUILDERS["molecule"](SPECIES, 3)
    direction = np.array([0.48, 0.6, 0.64])
    start = base.positions[int(np.argmax(base.positions @ direction))]

    def response(distance: float) -> tuple[float, float, float]:
        atoms = base.copy()
        atoms.append("O")
        atoms.positions[-1] = start + direction * distance
        graph = graph_from_atoms(atoms, double.cutoff)
        prediction, hessian = double(graph), double.hessian(graph)
        along = torch.from_numpy(direction)
        last = hessian[-3:, -3:]
        return prediction.energy.item(), float(prediction.forces[-1] @ along), float(along @ last @ along)

    h = 2e-4
    inside, nearer, outside = (np.array(response(double.cutoff + d)) for d in (-h / 2, -h, 1e-9))
    assert outside[1] == outside[2] == 0.0
    scale = np.abs(np.array(response(double.cutoff - 1.0)))
    # the n-th derivative that is continuous vanishes at least linearly
    orders = 2 if "xplor" in name else 3
    for order in range(orders):
        jump_near, jump = abs(nearer[order] - outside[order]), abs(inside[order] - outside[order])
        assert jump_near <= 0.02 * scale[order] + 1e-9, (order, jump_near, scale)
        assert jump <= 0.62 * jump_near + 1e-9, (order, jump, jump_near)


def test_hessian(double: Potential, atoms: Atoms) -> None:
    graph = graph_from_atoms(atoms, double.cutoff)
    hessian = double.hessian(graph)
    assert (hessian - hessian.T).abs().max() <= 1e-10 * hessian.abs().max()
    demand(gradients.hessian_is_symmetric(Calculator(double), atoms, PRECISIONS["float64"]))
    step, component = 1e-4, 4
    rows = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions.reshape(-1)[component] += sign * step
        rows.append(double(graph_from_atoms(moved, double.cutoff)).forces.flatten())
    numerical = -(rows[0] - rows[1]) / (2 * step)
    assert (hessian[component] - numerical).abs().max() <= 1e-5 * hessian.abs().max()


def test_no_work_round_closed_loops(double: Potential, atoms: Atoms) -> None:
    demand(conservation.closed_loop_work(Calculator(double), atoms, PRECISIONS["float64"]))


@pytest.mark.parametrize("name", ["nequip", "nequip-zbl", "nequip-as-imported"])
def test_energy_error_is_of_second_order_in_the_time_step(name: str) -> None:
    double = POTENTIALS[name](torch.float64)
    atoms = BUILDERS["molecule"](SPECIES, 0)
    demand(conservation.energy_fluctuation(Calculator(double), atoms, PRECISIONS["float64"]))


def test_save_and_load(potential: Potential, tmp_path) -> None:
    potential.provenance["note"] = "drawn"
    path = tmp_path / "model.safetensors"
    save_model(potential, path)
    state = torch.random.get_rng_state()
    loaded = load_model(path)
    assert torch.equal(torch.random.get_rng_state(), state), "loading must leave the random state alone"
    graph = graph_from_atoms(BUILDERS["bulk"](SPECIES, 0), potential.cutoff)
    for before, after in zip(potential(graph), loaded(graph), strict=True):
        assert torch.equal(before, after)
    assert loaded.dtype == potential.dtype
    assert loaded.provenance == potential.provenance
    assert not loaded.training
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors"]


def test_training_gradients(double: Potential) -> None:
    """The gradient of a loss on energies, forces and virials, for some weights of each tensor, by finite
    differences."""
    graph = collate([graph_from_atoms(BUILDERS[kind](SPECIES, 2), double.cutoff) for kind in ("bulk", "molecule")])
    double.train()

    def loss() -> torch.Tensor:
        prediction = double(graph)
        return (
            prediction.energy.square().mean() * 1e-2
            + prediction.forces.square().mean()
            + prediction.virial.square().mean()
        )

    parameters = [(key, p) for key, p in double.named_parameters() if p.requires_grad and p.numel()]
    exact = torch.autograd.grad(loss(), [p for _, p in parameters], allow_unused=True)
    generator = torch.Generator().manual_seed(0)
    scale = max(float(g.abs().max()) for g in exact if g is not None)
    checked = 0
    for (key, parameter), gradient in zip(parameters, exact, strict=True):
        assert gradient is not None, f"{key} is not used"
        direction = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        direction /= direction.norm()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * 1e-5)
            values.append(float(loss().detach()))
            with torch.no_grad():
                parameter.add_(direction, alpha=-sign * 1e-5)
        numerical = (values[0] - values[1]) / 2e-5
        assert abs(float((gradient * direction).sum()) - numerical) <= 1e-6 * scale, key
        checked += 1
    assert checked > 5


def test_scripted(double: Potential) -> None:
    """The whole potential scripts, forces included."""
    graphs = [graph_from_atoms(BUILDERS[kind](SPECIES, 0), double.cutoff) for kind in ("bulk", "molecule")]
    for library in (False, True):
        scripted = script(double, library)
        for graph in graphs:
            for eager, other in zip(double(graph), scripted(graph), strict=True):
                assert torch.equal(eager.isnan(), other.isnan())
                defined = ~eager.isnan()
                assert torch.allclose(eager[defined], other[defined], rtol=1e-10, atol=1e-12)


def test_frozen(double: Potential) -> None:
    """Isolated atoms computed once give the same numbers."""
    frozen = double.frozen()
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert (frozen.isolated_outputs is not None) == double.subtract_isolated
    graphs = [graph_from_atoms(BUILDERS[kind](SPECIES, 0), double.cutoff) for kind in ("bulk", "molecule")]
    for graph in [*graphs, build_graph(np.zeros((1, 3)), SPECIES[:1], np.zeros((3, 3)), [False] * 3, double.cutoff)]:
        for before, after in zip(double(graph), frozen(graph), strict=True):
            assert torch.allclose(before, after, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("name", ["nequip", "nequip-zbl"])
def test_exported(name: str) -> None:
    """The energy model exports with dynamic numbers of atoms, edges and structures."""
    double = POTENTIALS[name](torch.float64)
    graphs = [graph_from_atoms(BUILDERS[kind](SPECIES, 0), double.cutoff) for kind in ("bulk", "molecule")]

    class EnergyModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.potential = double

        def forward(self, *graph: torch.Tensor) -> torch.Tensor:
            return self.potential.energy(AtomicGraph(*graph))

    atoms, edges, structures = (torch.export.Dim(n, min=2) for n in ("atoms", "edges", "structures"))
    sizes = AtomicGraph(atoms, atoms, structures, structures, atoms, edges, edges, edges)
    shapes = tuple({0: size} for size in sizes)
    program = torch.export.export(EnergyModel(), tuple(collate(graphs)), dynamic_shapes=(shapes,))
    other = collate([graphs[1], graphs[0], graphs[1]])
    assert torch.allclose(program.module()(*other), double.energy(other), rtol=1e-12)


def test_unknown_element_is_named(potential: Potential) -> None:
    graph = build_graph([[0.0, 0, 0], [0, 0, 1.2]], [6, 79], np.zeros((3, 3)), [False] * 3, potential.cutoff)
    with pytest.raises(InputError, match=r"does not know Au; it was trained for C, O, Si"):
        potential(graph)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cutoff": -1.0}, "architecture.cutoff is -1.0"),
        ({"layers": 0}, "architecture.layers is 0"),
        ({"l_max": 9}, "architecture.l_max is 9"),
        ({"channels": [8, 8], "l_max": 2}, "architecture.channels"),
        ({"parity": "odd"}, "full, natural or none"),
        ({"envelope": "xplor"}, "architecture.xplor_onset is None"),
        ({"radial_hidden": [0]}, "architecture.radial_hidden"),
    ],
)
def test_hyper_parameters_out_of_range(settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        NequIPArchitecture(**settings)
