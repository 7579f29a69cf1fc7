"""info, predict, md and relax, as a user calls them."""

import ase.build
import ase.constraints
import ase.io
import numpy as np
import pytest

from equinet.simulate import Calculator


def test_info_says_what_there_is_to_know(run, model_file):
    code, out, err = run("info", model_file)
    assert (code, err) == (0, "")
    for line in (
        "architecture: nequip",
        "cutoff angstrom: 4.500000",
        "dtype: float64",
        "  C:",
        "    isolated energy ev: -20.000000",
        "    scale ev: 2.000000",
        "  energy: eV",
        "  data: none",
    ):
        assert line in out.splitlines()
    weights = sum(weight.numel() for weight in Calculator(model_file).potential.parameters())
    assert f"parameters: {weights}" in out


def test_info_of_no_model(fails, tmp_path):
    assert "no model file" in fails("info", tmp_path / "absent.safetensors")
    (tmp_path / "foreign.safetensors").write_bytes(b"not safetensors at all")
    assert "foreign.safetensors" in fails("info", tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("size", [1, 2, 32])
def test_predict_keeps_order_and_equals_the_calculator(run, model_file, structures, tmp_path, size):
    out = tmp_path / "out.extxyz"
    code, text, err = run("predict", model_file, structures, "-o", out, "--batch-size", size)
    assert (code, err) == (0, "")
    assert str(out) in text
    frames, originals = ase.io.read(out, index=":"), ase.io.read(structures, index=":")
    assert [str(frame.symbols) for frame in frames] == [str(atoms.symbols) for atoms in originals]
    calc = Calculator(model_file)
    for frame, atoms in zip(frames, originals, strict=True):
        assert frame.get_potential_energy() == pytest.approx(calc.get_property("energy", atoms), abs=1e-9)
        np.testing.assert_allclose(frame.get_forces(), calc.get_property("forces", atoms), atol=1e-7)
        assert ("virial" in frame.info) == (not atoms.pbc.all())


def test_predict_in_another_precision(run, model_file, structures, tmp_path):
    for dtype in ("float32", "float64"):
        assert run("predict", model_file, structures, "-o", tmp_path / f"{dtype}.xyz", "--dtype", dtype)[0] == 0
    single, double = (ase.io.read(tmp_path / f"{d}.xyz").get_potential_energy() for d in ("float32", "float64"))
    assert 0 < abs(single - double) < 1e-3


def test_predict_refuses_before_it_works(fails, model_file, structures, tmp_path):
    out = tmp_path / "out.extxyz"
    assert "no folder" in fails("predict", "absent", structures, "-o", tmp_path / "nowhere" / "out.extxyz")
    assert "must end in" in fails("predict", model_file, structures, "-o", tmp_path / "out.cif")
    assert "no model file" in fails("predict", tmp_path / "absent", structures, "-o", out)
    assert "no such file" in fails("predict", model_file, tmp_path / "absent", "-o", out)
    (tmp_path / "empty.xyz").write_text("")
    assert "empty" in fails("predict", model_file, tmp_path / "empty.xyz", "-o", out)
    oxide = tmp_path / "oxide.extxyz"
    ase.io.write(oxide, [*ase.io.read(structures, index=":"), ase.Atoms("O")])
    assert f"{oxide}: frame 3: the potential does not know O" in fails("predict", model_file, oxide, "-o", out)
    assert not out.exists()


def test_no_gpu_is_one_line(fails, model_file, structures, tmp_path):
    line = fails("predict", model_file, structures, "-o", tmp_path / "o.xyz", "--device", "cuda:99")
    assert "cuda:99" in line
    assert "the device cpu" in line


def test_md_writes_trajectory_and_log(run, model_file, crystal, tmp_path):
    out = tmp_path / "run.extxyz"
    settings = ["--temperature", 300, "--timestep", 0.5, "--steps", 20, "--interval", 5, "-o", out, "--seed", 4]
    code, text, err = run("md", model_file, crystal, *settings)
    assert (code, err) == (0, "")
    assert "20 steps, 0.01 ps" in text
    assert "meV/atom/ps" in text
    frames = ase.io.read(out, index=":")
    assert [frame.info["step"] for frame in frames] == [0, 5, 10, 15, 20]
    total = [frame.get_potential_energy() + frame.get_kinetic_energy() for frame in frames]
    assert np.ptp(total) < 1e-3
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 22
    # the run goes on from its last frame, velocities and all
    code, text, _ = run("md", model_file, out, "--timestep", 0.5, "--steps", 2, "-o", tmp_path / "more.traj")
    assert code == 0
    more = ase.io.read(tmp_path / "more.traj", index=0)
    np.testing.assert_allclose(more.get_velocities(), frames[-1].get_velocities(), atol=1e-7)


def test_md_with_a_bath(run, model_file, crystal, tmp_path):
    settings = ["--ensemble", "nvt", "--temperature", 300, "--timestep", 1, "--steps", 5, "-o", tmp_path / "a.xyz"]
    code, text, _ = run("md", model_file, crystal, *settings, "--log", tmp_path / "log.txt")
    assert code == 0
    assert "drift" not in text
    assert (tmp_path / "log.txt").is_file()


def test_md_errors(fails, model_file, crystal, structures, tmp_path):
    def md(structure, *more):
        settings = ["--timestep", 0.5, "--steps", 5, "-o", tmp_path / "run.extxyz"]
        return fails("md", model_file, structure, *settings, *more)

    assert "no velocities" in md(crystal)
    assert "nvt needs a temperature" in md(crystal, "--ensemble", "nvt")
    assert "3 structures give a folder" in md(structures, "--temperature", 300, "--frame", ":")
    assert "nvt needs a temperature above 0 K" in md(crystal, "--ensemble", "nvt", "--temperature", 0)
    assert "stops the atoms within a step" in md(
        crystal, "--ensemble", "nvt", "--temperature", 300, "--timestep", 1, "--friction", 5
    )
    oxide = tmp_path / "oxide.extxyz"
    ase.io.write(oxide, ase.Atoms("O"))
    assert f"{oxide}: the potential does not know O" in md(oxide, "--temperature", 300)
    assert not (tmp_path / "run.extxyz").exists()
    assert "exploded at step" in md(crystal, "--temperature", 300, "--timestep", 1000)
    assert ase.io.read(tmp_path / "run.extxyz").info["step"] == 0


def test_md_refuses_what_would_have_no_effect(fails, model_file, crystal, tmp_path):
    def md(*more, out="run.extxyz"):
        settings = ["--temperature", 300, "--timestep", 0.5, "--steps", 5, "-o", tmp_path / out]
        line = fails("md", model_file, crystal, *settings, *more)
        assert f"{[each for each in more if str(each).startswith('--')][-1]} would have no effect" in line
        assert not (tmp_path / out).exists()
        return line

    for option, value in (("--thermostat", "bussi"), ("--friction", 0.1), ("--thermostat-time", 50)):
        assert "nve has no thermostat" in md(option, value)
    for option, value in (
        ("--pressure", 0.0),
        ("--barostat", "flexible"),
        ("--barostat-time", 50),
        ("--compressibility", 1),
    ):
        assert "nvt keeps the cell" in md("--ensemble", "nvt", option, value)
    assert "Langevin" in md("--ensemble", "nvt", "--thermostat-time", 50)
    assert "bussi" in md("--ensemble", "npt", "--thermostat", "bussi", "--friction", 0.1)
    for option in (["--format", "hdf5"], ["--max-atoms", 10], ["--skip-bad"]):
        assert "for several structures" in md(*option)
    assert "for one structure" in md("--log", tmp_path / "a.csv", out="folder")


def test_relax_positions_and_cell(run, model_file, crystal, tmp_path):
    out = tmp_path / "relaxed.extxyz"
    code, _, err = run("relax", model_file, crystal, "--fmax", 0.1, "-o", out)
    assert (code, err) == (0, "")
    frame, start = ase.io.read(out), ase.io.read(crystal)
    assert np.linalg.norm(frame.get_forces(), axis=1).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(frame.cell, start.cell, atol=1e-7)
    code, _, err = run("relax", model_file, crystal, "--cell", "--fmax", 0.2, "-o", out, "--optimizer", "bfgs")
    assert (code, err) == (0, "")
    assert not np.allclose(ase.io.read(out).cell, start.cell)


def test_relax_without_convergence_keeps_the_output_and_fails(run, model_file, crystal, tmp_path):
    out = tmp_path / "relaxed.extxyz"
    code, _, err = run("relax", model_file, crystal, "--fmax", 1e-9, "--max-steps", 3, "-o", out)
    assert code == 1
    assert err.startswith("equinet: error: not converged")
    assert err.count("\n") == 1
    assert len(ase.io.read(out)) == 8


def test_relax_errors(fails, model_file, structures, tmp_path):
    out = tmp_path / "relaxed.extxyz"
    assert "cannot relax the cell" in fails("relax", model_file, structures, "--cell", "-o", out)
    oxide = tmp_path / "oxide.extxyz"
    ase.io.write(oxide, ase.Atoms("O"))
    assert f"{oxide}: the potential does not know O" in fails("relax", model_file, oxide, "-o", out)
    assert "no folder" in fails("relax", model_file, structures, "-o", tmp_path / "nowhere" / "a.extxyz")
    assert not out.exists()


def test_md_of_many_names_the_bad_one_and_goes_on(run, model_file, structures, tmp_path):
    pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
    starts, out = tmp_path / "starts.extxyz", tmp_path / "runs"
    ase.io.write(starts, [*ase.io.read(structures, index=":"), ase.Atoms("O")])
    settings = ["--temperature", 300, "--timestep", 0.5, "--steps", 20, "--frame", ":"]
    code, text, err = run("md", model_file, starts, *settings, "-o", out)
    assert code == 1
    reason = "the potential does not know O; it was trained for C, Si; the others go on"
    assert err == f"equinet: warning: {starts}: frame 3: {reason}\n"
    assert "4 structures, 20 steps" in text
    assert "1 left out or stopped" in text
    assert sorted(path.name for path in out.iterdir()) == ["0.extxyz", "1.extxyz", "2.extxyz", "summary.json"]
    assert [frame.info["step"] for frame in ase.io.read(out / "1.extxyz", ":")] == [0, 10, 20]
    code, _, err = run("md", model_file, starts, *settings, "-o", out, "--resume")
    assert (code, "has a run that has ended; name another folder" in err) == (1, True)
    again = tmp_path / "again"  # --resume begins where there is nothing to go on from
    assert run("md", model_file, starts, *settings, "-o", again, "--skip-bad", "--resume")[0] == 0
    assert (again / "1.extxyz").read_bytes() == (out / "1.extxyz").read_bytes()


def test_many_with_one_that_is_not_finite_or_has_fixed_atoms(run, fails, model_file, structures, tmp_path):
    pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
    starts, out = tmp_path / "starts.extxyz", tmp_path / "relaxed.extxyz"
    good = ase.io.read(structures, index=":")
    flown, held = good[0].copy(), good[1].copy()
    flown.positions[1] = np.nan
    held.set_constraint(ase.constraints.FixAtoms([0]))
    ase.io.write(starts, [good[0], held, flown, good[2]])
    code, _, err = run("relax", model_file, starts, "--frame", ":", "--fmax", 0.3, "-o", out, "--skip-bad")
    assert code == 0
    assert "1 of 3 structures have fixed atoms; these relax one by one" in err
    assert f"{starts}: frame 2: the position of atom 1 is not finite" in err
    relaxed = ase.io.read(out, ":")
    assert [frame.info["index"] for frame in relaxed] == [0, 1, 3]
    assert all(frame.info["converged"] for frame in relaxed)
    np.testing.assert_allclose(relaxed[1].positions[0], held.positions[0], atol=1e-8)
    assert "the position of atom 1 is not finite" in fails("relax", model_file, starts, "--frame", 2, "-o", out)
    settings = ["--temperature", 300, "--timestep", 0.5, "--steps", 2, "--frame", ":", "-o", tmp_path / "runs"]
    code, _, err = run("md", model_file, starts, *settings)
    assert code == 1
    assert "frame 2: the position of atom 1 is not finite" in err
    assert "frame 1: it has fixed atoms" in err
    assert len(ase.io.read(tmp_path / "runs" / "3.extxyz", ":")) == 2


def test_relax_of_many_is_in_order_and_goes_on_after_a_kill(run, fails, model_file, structures, tmp_path, monkeypatch):
    pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
    from equinet.simulate.partial_output import PartialOutput

    starts, out = tmp_path / "starts.extxyz", tmp_path / "relaxed.extxyz"
    frames = ase.io.read(structures, index=":")
    ase.io.write(starts, [frames[0], ase.Atoms("O"), frames[1], frames[2]])
    settings = ["--fmax", 0.3, "--frame", ":", "--max-atoms", 1, "-o", out]
    append = PartialOutput.append

    def killed(self, *rest):
        append(self, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PartialOutput, "append", killed)
        code, _, err = run("relax", model_file, starts, *settings)
        assert code == 130
        assert f"{starts}: frame 1: the potential does not know O" in err
    assert not out.exists()
    assert "interrupted after 1 structures" in fails("relax", model_file, starts, *settings)
    code, text, _ = run("relax", model_file, starts, *settings, "--resume")
    assert code == 1
    assert "3 structures" in text
    assert "1 left out" in text
    relaxed = ase.io.read(out, ":")
    assert [frame.info["index"] for frame in relaxed] == [0, 2, 3]
    assert [frame.get_chemical_formula() for frame in relaxed] == [frame.get_chemical_formula() for frame in frames]
    assert all(frame.info["converged"] and frame.info["fmax"] <= 0.3 for frame in relaxed)
    assert not list(tmp_path.glob("relaxed.extxyz.*"))


def test_relax_of_many_says_what_did_not_converge(run, model_file, structures, tmp_path):
    pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
    out = tmp_path / "relaxed.extxyz"
    code, _, err = run("relax", model_file, structures, "--frame", ":", "--fmax", 1e-9, "--max-steps", 2, "-o", out)
    assert code == 1
    assert "3 of 3 not converged" in err
    assert [frame.info["steps"] for frame in ase.io.read(out, ":")] == [2, 2, 2]


def test_relax_keeps_the_symmetry(run, model_file, tmp_path):
    pytest.importorskip("spglib", reason="spglib is not installed (the extra 'properties')")
    from ase.spacegroup.symmetrize import check_symmetry

    start, out = tmp_path / "start.extxyz", tmp_path / "relaxed.extxyz"
    atoms = ase.build.bulk("Si", a=5.2)
    atoms.set_cell(atoms.cell @ np.diag([1, 1, 1.01]), scale_atoms=True)
    ase.io.write(start, atoms)
    code, _, err = run("relax", model_file, start, "--cell", "--keep-symmetry", "--fmax", 0.2, "-o", out)
    assert (code, err) == (0, "")
    assert check_symmetry(ase.io.read(out), 1e-4).number == check_symmetry(atoms, 1e-4).number
