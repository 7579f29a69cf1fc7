"""Choosing frames to label: what is chosen, what is left out, what the command says and writes."""

import weakref

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.errors import InputError
from equinet.simulate.trajectory_folder import trajectories_of
from equinet.uncertainty import fit_uncertainty, select_frames
from equinet.uncertainty.descriptor import WIDEST, StructureDescriptor, distances_to
from equinet.uncertainty.selection import SAME, greedy
from equinet.uncertainty.support import FeatureMoments
from tests.cli.conftest import fails, run  # noqa: F401 fixtures
from tests.uncertainty.conftest import graph_of, small_potential, structure


@pytest.fixture(scope="module")
def uncertainty(potential, sets):
    return fit_uncertainty([potential], sets["training"], sets["calibration"])


@pytest.fixture(scope="module")
def pool():
    """Sixty frames at room temperature, and one that is far from all at place 40."""
    frames = [structure(seed) for seed in range(300, 360)]
    frames[40] = structure(342, 0.5)
    return frames


def indices(selection):
    return [each.index for each in selection.chosen]


def test_the_outlier_is_chosen_first_and_duplicates_once(uncertainty, pool):
    """Moved as a whole, or with its atoms in another order, a structure is the same."""
    shuffled, moved = pool[40][[3, 1, 2, 0, 7, 5, 6, 4]], pool[40].copy()
    moved.translate([1.0, 0.3, 0.0])
    moved.wrap()
    frames = [*pool, shuffled, moved, *(pool[7].copy() for _ in range(30))]
    for by in ("uncertainty", "farthest"):
        chosen = indices(select_frames(uncertainty, frames, 20, by=by))
        assert chosen[0] in (40, 60, 61)
        assert len(set(chosen)) == 20
        assert not {40, 60, 61} & set(chosen[1:])
        assert len({7, *range(62, 92)} & set(chosen)) <= 1
    everything = select_frames(uncertainty, frames, 1000)
    assert len(everything.chosen) == 60
    assert min(each.distance for each in everything.chosen) > SAME


def test_every_choice_is_the_largest_product(uncertainty, pool):
    """By hand, from descriptors and error bars made here."""
    describe = StructureDescriptor(uncertainty.support)
    potential = uncertainty.source.potentials[0]
    rows, std = [], []
    for atoms in pool:
        graph = graph_of(atoms, potential)
        estimate = uncertainty.estimate(graph)
        rows.append(describe(estimate.features, uncertainty.species(graph), graph)[0].numpy())
        std.append(estimate.forces_std.max())
    known = [np.array(rows[0]), np.array(rows[1])]
    selection = select_frames(uncertainty, pool[2:], 10, labelled=pool[:2])
    for each in selection.chosen:
        distances = [min(np.linalg.norm(row - other) for other in known) for row in rows[2:]]
        assert each.index == np.argmax(np.array(std[2:]) * distances)
        assert each.distance == pytest.approx(distances[each.index], rel=1e-4)
        assert selection.candidates.forces_std_max[each.row] == pytest.approx(std[2:][each.index], rel=1e-6)
        known.append(rows[2:][each.index])


def test_the_order_of_frames_and_the_size_of_batches_do_not_matter(uncertainty, pool):
    order = np.random.default_rng(0).permutation(len(pool))
    one = select_frames(uncertainty, pool, 8)
    other = select_frames(uncertainty, (pool[i] for i in order), 8, batch_size=7)
    assert indices(one) == [int(order[i]) for i in indices(other)]
    assert indices(one) == indices(select_frames(uncertainty, pool, 8, seed=5))


def test_random_depends_on_the_seed_alone(uncertainty, pool):
    seeds = [indices(select_frames(uncertainty, pool, 8, by="random", seed=seed)) for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]
    first = [indices(select_frames(uncertainty, pool, 1, by="random", seed=seed))[0] for seed in range(12)]
    assert len(set(first)) > 6


def test_labelled_frames_are_not_wanted_again(uncertainty, pool):
    """Also where they differ in the last digits, as after labelling."""
    again = pool[40].copy()
    again.positions += 1e-6
    selection = select_frames(uncertainty, pool, 60, labelled=[again, *pool[:5]])
    assert not {40, *range(5)} & set(indices(selection))
    assert len(selection.chosen) == 54


def test_frames_that_teach_nothing_are_left_out(uncertainty, pool, sets):
    used = sets["training"][3]
    overlapping, lost, foreign = (pool[number].copy() for number in (10, 11, 12))
    overlapping.positions[1] = overlapping.positions[0] + [0.0, 0.5, 0.0]
    lost.positions[2, 1] = np.nan
    foreign.numbers[0] = 8
    known = Atoms(used.numbers, used.positions, cell=used.cell, pbc=used.pbc)
    frames = [overlapping, *pool, lost, foreign, known]
    selection = select_frames(uncertainty, frames, 64)
    assert sorted(indices(selection)) == list(range(1, 61))
    said = {each.reason: each for each in selection.left_out}
    close, cannot, trained = (next(one for reason, one in said.items() if word in reason) for word in _REASONS)
    assert (close.count, close.first, close.detail) == (1, 0, "0.5 A")
    assert (cannot.count, cannot.first) == (2, 61)
    assert "not finite" in cannot.detail
    assert (trained.count, trained.first) == (1, 63)


_REASONS = ("nearer than 0.5", "cannot take", "trained or calibrated on")


def test_energies_that_exploded_are_left_out(uncertainty, pool, monkeypatch):
    """Judged among structures of the same atoms only."""
    estimate = type(uncertainty).estimate

    def hot(self, graph):
        found = estimate(self, graph)
        energy = found.prediction.energy.clone()
        energy[graph.batch[graph.positions[:, 0] == pool[9].positions[0, 0]]] += 8 * 2.1
        return found._replace(prediction=found.prediction._replace(energy=energy))

    monkeypatch.setattr(type(uncertainty), "estimate", hot)
    selection = select_frames(uncertainty, [*pool, pool[3] * (1, 1, 2), Atoms("C", pbc=False)], 100)
    (only,) = selection.left_out
    assert (only.reason, only.count, only.first) == ("energies that exploded", 1, 9)
    assert {60, 61} <= set(indices(selection))


def test_frames_are_read_one_by_one(uncertainty, pool):
    """No more than two batches are alive at a time, however many there are."""
    alive = most = 0

    def gone():
        nonlocal alive
        alive -= 1

    def frames():
        nonlocal alive, most
        for number in range(200):
            atoms = pool[number % 60].copy()
            atoms.positions += 0.01 * np.random.default_rng(number).normal(size=(8, 3))
            alive += 1
            weakref.finalize(atoms, gone)
            most = max(most, alive)
            yield atoms

    assert len(select_frames(uncertainty, frames(), 150, batch_size=10).chosen) == 150
    assert most <= 20


def test_many_elements_are_drawn_to_fewer_numbers():
    """Distances stay those of the exact description within a tenth."""
    generator = torch.Generator().manual_seed(0)
    species = torch.arange(40).repeat(10)
    moments = FeatureMoments(40, 24)
    moments.add(torch.randn(400, 24, generator=generator, dtype=torch.float64), species)
    support = moments.support()
    graph = graph_of(structure(0), small_potential())
    describe = StructureDescriptor(support)
    assert describe.width == WIDEST
    near, far = [], []
    for _ in range(20):
        features = torch.randn(8, 24, generator=generator, dtype=torch.float64)
        of = torch.randperm(40, generator=generator)[:8]
        near.append(describe(features, of, graph)[0])
        blocks = torch.zeros(40, 24, dtype=torch.float64)
        blocks[of] = support.whitened(features, of) / (24 * 8) ** 0.5
        far.append(blocks.flatten().float())
    sketched, exact = (
        torch.cdist(rows, rows)[torch.triu(torch.ones(20, 20), 1) > 0] for rows in map(torch.stack, (near, far))
    )
    assert ((sketched / exact - 1.0).abs() < 0.2).all()
    assert float((sketched / exact - 1.0).abs().mean()) < 0.06
    same = distances_to(torch.stack(near), torch.stack(near))
    assert float(same.max()) == 0.0


def test_without_anything_known_the_first_is_farthest_from_the_mean():
    rows = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    infinite = np.full(4, np.inf)
    assert [row for row, _ in greedy(rows, np.ones(4), infinite, 4)] == [3, 0, 2, 1]
    assert greedy(rows[:1], np.ones(1), infinite[:1], 3) == [(0, np.inf)]
    assert greedy(rows, np.array([1.0, 0.0, 0.0, 0.0]), infinite, 3) == [(0, np.inf)]


def test_error_bars_may_have_limits(uncertainty, pool):
    std = np.sort(select_frames(uncertainty, pool, 1).candidates.forces_std_max)
    selection = select_frames(uncertainty, pool, 60, least_std=std[10], most_std=std[-2])
    chosen = selection.candidates.forces_std_max[[each.row for each in selection.chosen]]
    assert selection.eligible == len(chosen) == 49
    assert (chosen.min(), chosen.max()) == (std[10], std[-2])


def test_choices_that_cannot_be(uncertainty, pool):
    with pytest.raises(InputError, match="0 frames cannot be chosen"):
        select_frames(uncertainty, pool, 0)
    with pytest.raises(InputError, match="unknown strategy 'best'"):
        select_frames(uncertainty, pool, 1, by="best")


@pytest.mark.parametrize("limits", [(0.0, np.nan), (np.nan, 1.0), (-3.0, 1.0), (2.0, 1.0), (0.0, 0.0), (0.0, -1.0)])
def test_limits_that_nothing_is_within_are_refused_before_frames_are_read(uncertainty, limits):
    def frames():
        raise AssertionError("a frame was read")
        yield

    with pytest.raises(InputError, match="cannot be chosen; give limits of 0 or more"):
        select_frames(uncertainty, frames(), 1, least_std=limits[0], most_std=limits[1])


# on the command line


@pytest.fixture(scope="module")
def made(files):
    from equinet.cli.main import main

    data = ["--train", f"{files}/train.extxyz", "--calibrate", f"{files}/calibrate.extxyz"]
    assert main(["uncertainty", f"{files}/model.safetensors", *data, "-o", f"{files}/bars.safetensors"]) == 0
    return files


@pytest.fixture
def command(made):
    return ["select", made / "model.safetensors", "--uncertainty", made / "bars.safetensors"]


def written(path, frames):
    """With predictions as dynamics leave them."""
    for number, atoms in enumerate(frames):
        atoms.set_array("momenta", np.ones((len(atoms), 3)))
        atoms.info["step"] = 10 * number
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
    ase.io.write(path, frames)
    return path


def test_chosen_frames_are_written_without_labels(run, command, made, tmp_path):  # noqa: F811
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "summary.json").write_text("{}")
    first = written(folder / "0.extxyz", [structure(seed) for seed in range(300, 310)])
    second = written(folder / "1.extxyz", [structure(seed, 0.25) for seed in range(310, 315)])
    gold = structure(1)
    gold.numbers[:] = 79
    bad = written(tmp_path / "bad.extxyz", [structure(2), gold])
    output, figure = tmp_path / "label.extxyz", tmp_path / "label.png"
    code, out, err = run(
        *command, folder, bad, "-n", 4, "-o", output, "--figure", figure,
        "--labelled", made / "train.extxyz",
    )  # fmt: skip
    assert code == 0
    assert err.count("\n") == 2
    assert (
        f"1 frame left out for elements or positions that the model cannot take; the first is {bad}: frame 1: " in err
    )
    assert f"1 frame left out for having been trained or calibrated on; the first is {bad}: frame 0\n" in err
    assert "4 of 15 frames chosen (uncertainty)" in out
    chosen = ase.io.read(output, ":")
    assert [atoms.info["rank"] for atoms in chosen] == [1, 2, 3, 4]
    sources = {str(first): ase.io.read(first, ":"), str(second): ase.io.read(second, ":")}
    for atoms in chosen:
        assert atoms.info["source"] == str(second)
        original = sources[atoms.info["source"]][atoms.info["source_frame"]]
        np.testing.assert_array_equal(atoms.positions, original.positions)
        np.testing.assert_array_equal(atoms.cell.array, original.cell.array)
        assert atoms.calc is None
        assert set(atoms.arrays) == {"numbers", "positions"}
        assert set(atoms.info) == {
            "step", "source", "source_frame", "rank", "forces_std_max", "energy_std", "support_max",
        }  # fmt: skip
    assert figure.stat().st_size > 10_000


def test_of_a_folder_the_last_run_is_read(run, fails, command, made, tmp_path):  # noqa: F811
    """Not what runs of more structures, or in another format, left there; nor frames that a guard saved."""
    pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
    ase.io.write(tmp_path / "starts.extxyz", [structure(seed, 0.05) for seed in range(300, 311)])
    folder, output = tmp_path / "runs", tmp_path / "label.extxyz"
    for frame, form in ((":", "extxyz"), (":2", "hdf5"), (":3", "extxyz")):
        (folder / "summary.json").unlink(missing_ok=True)  # with it, nothing is written into the folder
        dynamics = ["md", made / "model.safetensors", tmp_path / "starts.extxyz", "--frame", frame, "--format", form]
        assert run(*dynamics, "--temperature", 100, "--timestep", 1, "--steps", 1, "-o", folder)[0] == 0
    written(folder / "label.extxyz", [structure(320)])
    last = [folder / f"{number}.extxyz" for number in range(3)]
    everything = sorted(path.name for path in folder.iterdir() if path.suffix in (".extxyz", ".h5"))
    assert len(everything) == 11 + 2 + 3 + 1
    code, _, err = run(*command, folder, "-n", 17, "-o", output)
    assert code == 0
    assert f"{folder}: 14 of 17 files are not of the run in its summary.json and are not read" in err
    assert {atoms.info["source"] for atoms in ase.io.read(output, ":")} == set(map(str, last))
    summary = folder / "summary.json"
    summary.write_text(summary.read_text().replace('"format": "extxyz",', ""))  # as it was written before
    assert trajectories_of(folder) == [*last, folder / "0.h5", folder / "1.h5"]
    for text in ("{}", "[]", "{", '{"systems": [1], "format": "xtc"}'):
        summary.write_text(text)
        assert trajectories_of(folder) is None
    summary.write_text('{"systems": []}')
    assert "has no trajectory of the run in its summary.json" in fails(*command, folder, "-n", 1, "-o", output)
    summary.unlink()
    assert trajectories_of(folder) is None
    _, _, err = run(*command, folder, "-n", 1, "-o", output)
    assert "not of the run" not in err


def test_trajectories_in_hdf5_are_chosen_from_as_well(run, command, tmp_path):  # noqa: F811
    """A folder of `equinet md --format hdf5`: the frames that extended XYZ would have given."""
    torch_sim = pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
    from torch_sim.trajectory import TorchSimTrajectory

    frames = [structure(seed) for seed in range(300, 312)]
    (tmp_path / "h5").mkdir()
    with TorchSimTrajectory(tmp_path / "h5" / "0.h5", mode="w", coerce_to_float32=False) as file:
        for number, atoms in enumerate(frames):
            state = torch_sim.io.atoms_to_state(atoms, torch.device("cpu"), torch.float64)
            state.velocities = torch.zeros_like(state.positions)
            file.write_state(state, 10 * number, save_velocities=True)
    chosen = []
    for place in (written(tmp_path / "frames.extxyz", frames), tmp_path / "h5"):
        output = tmp_path / "label.extxyz"
        assert run(*command, place, "-n", 4, "-o", output)[0] == 0
        chosen.append(ase.io.read(output, ":"))
        assert all(set(atoms.arrays) == {"numbers", "positions"} for atoms in chosen[-1])
    for one, other in zip(*chosen, strict=True):
        assert one.info["step"] == other.info["step"]
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-7)


def test_fewer_than_wanted_are_said(run, fails, command, tmp_path):  # noqa: F811
    frames = written(tmp_path / "few.extxyz", [structure(300), structure(301), structure(300)])
    output = tmp_path / "label.extxyz"
    code, _, err = run(*command, frames, "-n", 3, "-o", output)
    assert (code, err.count("\n")) == (0, 1)
    assert "2 of 3 frames found, of 3: the others are all but equal" in err
    assert len(ase.io.read(output, ":")) == 2
    _, _, err = run(*command, frames, "-n", 9, "-o", output)
    assert "2 of 9 frames found, of 3" in err
    line = fails(*command, frames, "-n", 3, "-o", output, "--min-std", "1e6")
    assert "none of 3 frames is chosen: 0 of 3 frames found, of 3: the error bars of 3 are not within" in line


def test_bad_input_is_one_line(fails, run, command, made, tmp_path):  # noqa: F811
    frames = written(tmp_path / "frames.extxyz", [structure(300)])
    options = ["-n", 1, "-o", tmp_path / "label.extxyz"]
    assert "is one of the inputs" in fails(*command, frames, "-n", 1, "-o", frames)
    assert "must end in .extxyz" in fails(*command, frames, "-n", 1, "-o", tmp_path / "label.json")
    assert "no such file" in fails(*command, tmp_path / "none.extxyz", *options)
    (tmp_path / "broken.extxyz").write_text("2\nno frame\n")
    line = fails(*command, tmp_path / "broken.extxyz", *options, "--labelled", made / "train.extxyz")
    assert line.startswith(f"equinet: error: {tmp_path}/broken.extxyz: cannot be read")
    foreign = structure(1)
    foreign.numbers[:] = 79
    labelled = written(tmp_path / "gold.extxyz", [structure(2), foreign])
    assert f"{labelled}: frame 1: " in fails(*command, frames, *options, "--labelled", labelled)
    (tmp_path / "h5").mkdir()
    (tmp_path / "h5" / "0.h5").write_text("nothing")
    assert f"{tmp_path}/h5/0.h5: cannot be read as HDF5" in fails(*command, tmp_path / "h5", *options)
    other = ["select", made / "other.safetensors", frames, "--uncertainty", made / "bars.safetensors"]
    assert "was made for another model" in fails(*other, *options)
    for option, value in (("--max-std", "nan"), ("--min-std", "-3")):
        assert "eV/A cannot be chosen" in fails(*command, tmp_path / "broken.extxyz", *options, option, value)
    code, _, err = run(*command, frames, "-n", 0, "-o", tmp_path / "label.extxyz")
    assert code == 2
    assert "-n/--number: invalid number above 0 value: '0'" in err
    assert not (tmp_path / "label.extxyz").exists()
