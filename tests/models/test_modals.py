"""Several levels of theory in one potential: each gives what a potential of its own would, in a batch or alone."""

import pytest
import torch

from equinet.cli.main import main
from equinet.errors import InputError
from equinet.graph import collate
from equinet.models import NequIPArchitecture, Potential, load_model, one_modal, save_model
from equinet.models.compilation import compile_potential, drawn_structures
from equinet.simulate import Calculator, predict
from equinet.simulate.structures import bulk

SPECIES, CUTOFF = [1, 8, 14], 4.0
SETTINGS = {
    "plain": {},
    "biases, readout": {"biases": True, "readout_hidden": [5]},
    "no parity, shared connection": {"parity": "none", "species_self_connection": False},
}


def make(name: str = "plain", dtype: torch.dtype = torch.float64, **options) -> Potential:
    torch.manual_seed(5)
    architecture = NequIPArchitecture(
        cutoff=CUTOFF, layers=2, l_max=1, channels=6, mean_neighbors=12.0, modals=["PBE", "R2SCAN"], **SETTINGS[name]
    )
    energies = [[-1.0, -2.0, -3.0], [-1.5, -2.5, -3.5]]
    scales, shifts = [[1.0, 2.0, 3.0], [1.1, 2.1, 3.1]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
    potential = Potential(architecture, SPECIES, energies, scales, shifts, dtype=dtype, **options)
    with torch.no_grad():
        for parameter_name, parameter in potential.named_parameters():
            if "bias" in parameter_name or "modal" in parameter_name:
                parameter.normal_()
    return potential.eval()


@pytest.fixture
def graphs():
    return drawn_structures(SPECIES, CUTOFF, seed=1)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("options", [{}, {"subtract_isolated": False, "zbl": True}], ids=["bound", "plain, zbl"])
def test_each_level_is_a_potential_of_its_own(name, options, graphs):
    potential = make(name, **options)
    modal = torch.tensor([0, 1, 1, 0, 1])
    together = potential(collate(graphs), modal)
    singles = [one_modal(potential, modal_name) for modal_name in potential.modals]
    assert [single.modals for single in singles] == [[], []]
    start = 0
    for number, graph in enumerate(graphs):
        level = int(modal[number])
        alone, other = singles[level](graph), singles[1 - level](graph)
        atoms = slice(start, start + len(graph.numbers))
        start = atoms.stop
        assert torch.allclose(together.energy[number], alone.energy[0], rtol=0, atol=1e-10)
        assert torch.allclose(together.forces[atoms], alone.forces, rtol=0, atol=1e-10)
        assert torch.allclose(together.virial[number], alone.virial[0], rtol=0, atol=1e-9)
        assert torch.allclose(potential.energy(graph, modal[number : number + 1]), alone.energy, rtol=0, atol=1e-10)
        assert (alone.energy - other.energy).abs() > 0.1
        assert (alone.forces - other.forces).abs().max() > 1e-3
    assert torch.allclose(potential.isolated_energies, torch.stack([s.isolated_energies for s in singles]), atol=1e-10)
    assert potential.isolated_energies.shape == (2, 3)
    hessian = potential.hessian(graphs[3], torch.tensor([1]))
    assert torch.allclose(hessian, singles[1].hessian(graphs[3]), rtol=0, atol=1e-9)


def test_all_of_it_is_trained_and_only_by_structures_of_its_level(graphs):
    potential = make().train()
    prediction = potential(graphs[0], torch.tensor([1]))
    (prediction.energy.sum() + prediction.forces.square().sum()).backward()
    own = {name: weight.grad for name, weight in potential.named_parameters() if "modal_" in name}
    assert len(own) == 5  # the embedding, and two linear maps of each round
    for name, gradient in own.items():
        # an isolated atom of each level rides along, so that the other level's output is subtracted from nothing
        assert gradient[1].abs().max() > 0, name
        assert gradient[0].abs().max() == 0, name


def test_levels_start_alike():
    """What a level adds is zero at first: two levels with the same references are one function."""
    potential = Potential(make().architecture, SPECIES, [[0.0] * 3] * 2, 1.0, dtype=torch.float64).eval()
    (graph,) = drawn_structures(SPECIES, CUTOFF, seed=1)[:1]
    one, two = (potential(graph, torch.tensor([level])) for level in (0, 1))
    assert torch.equal(one.forces, two.forces)
    assert one.forces.abs().max() > 0.01


def test_scripted_it_gives_the_same(graphs):
    potential = make()
    modal = torch.tensor([0, 1, 1, 0, 1])
    expected, found = potential(collate(graphs), modal), torch.jit.script(potential)(collate(graphs), modal)
    assert torch.allclose(found.forces, expected.forces, rtol=0, atol=1e-12)


def test_the_file_keeps_every_level(tmp_path, graphs, capsys):
    potential = make(dtype=torch.float32)
    save_model(potential, tmp_path / "both.safetensors")
    both = load_model(tmp_path / "both.safetensors")
    assert both.modals == ["PBE", "R2SCAN"]
    modal = torch.tensor([1])
    assert torch.equal(both(graphs[0], modal).forces, potential(graphs[0], modal).forces)
    one = load_model(tmp_path / "both.safetensors", modal="R2SCAN")
    assert one.provenance["modal"] == "R2SCAN"
    assert torch.allclose(one(graphs[0]).forces, potential(graphs[0], modal).forces, atol=1e-5)
    save_model(one, tmp_path / "one.safetensors")
    assert torch.equal(load_model(tmp_path / "one.safetensors")(graphs[0]).forces, one(graphs[0]).forces)
    assert main(["info", str(tmp_path / "both.safetensors")]) == 0
    shown = capsys.readouterr().out
    assert "  R2SCAN:\n    H:\n      isolated energy ev: -1.500000" in shown


def test_one_level_runs_and_compiles(tmp_path, capsys):
    path, fast = tmp_path / "both.safetensors", tmp_path / "fast.safetensors"
    potential = make()
    save_model(potential, path)
    atoms = bulk([8, 14])
    expected = Calculator(one_modal(potential, "R2SCAN")).get_property("forces", atoms)
    assert Calculator(path, modal="R2SCAN").get_property("forces", atoms) == pytest.approx(expected, abs=1e-10)
    assert Calculator(potential, modal="PBE").get_property("forces", atoms) != pytest.approx(expected, abs=1e-3)
    assert main(["compile", str(path), "--modal", "R2SCAN", "-o", str(fast)]) == 0
    assert Calculator(fast).get_property("forces", atoms) == pytest.approx(expected, abs=1e-4)
    capsys.readouterr()
    assert main(["compile", str(path), "-o", str(tmp_path / "none.safetensors")]) == 1
    assert "knows the levels of theory PBE, R2SCAN; say which with --modal" in capsys.readouterr().err


def test_what_cannot_be_chosen(graphs):
    potential = make()
    with pytest.raises(InputError, match="knows the levels of theory PBE, R2SCAN; choose one"):
        potential(graphs[0])
    with pytest.raises(InputError, match="choose one"):
        potential.hessian(graphs[0])
    with pytest.raises(InputError, match="say which with --modal"):
        Calculator(potential)
    with pytest.raises(InputError, match=r"load it at one of them: equinet.load\(FILE, modal='PBE'\)"):
        predict(potential, [bulk([8, 14])])
    with pytest.raises(InputError, match="knows no 'LDA'; there are PBE, R2SCAN"):
        one_modal(potential, "LDA")
    single = one_modal(potential, "PBE")
    assert one_modal(single, None) is single
    with pytest.raises(InputError, match="knows one level of theory, so there is no 'PBE'"):
        one_modal(single, "PBE")
    with pytest.raises(InputError, match="there is nothing to choose"):
        single(graphs[0], torch.tensor([0]))
    with pytest.raises(InputError, match="only one level of theory can be compiled; choose from PBE, R2SCAN"):
        compile_potential(potential)
    with pytest.raises(InputError, match="3 species and 2 modals"):
        Potential(potential.architecture, SPECIES, [0.0] * 3, 1.0)
    for modals in (["a", "a"], [""], [1], "ab"):
        with pytest.raises(InputError, match=r"architecture.modals is .* at most 64 distinct names"):
            NequIPArchitecture(modals=modals)
