"""The plugin in LAMMPS itself, on one process and on several."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.lammps import Prism
from ase.data import chemical_symbols

from equinet import Calculator
from equinet.cli.main import main
from equinet.deploy import export_model
from equinet.interop.sevennet import import_sevennet
from equinet.models import Potential
from equinet.simulate.structures import BUILDERS
from tests import compiled
from tests.deploy import lammps_run as lmp
from tests.deploy.conftest import MODELS
from tests.models.conftest import SPECIES

RANKS = (1, 2, 4)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Potential, Path]]:
    """Exported for LAMMPS."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, dtype in (("plain", torch.float64), ("compiled", torch.float64), ("repulsive", torch.float32)):
        potential = MODELS[name](dtype)
        export_model(potential, "lammps", folder / f"{name}.pt")
        found[name] = (potential, folder / f"{name}.pt")
    return found


def structures() -> dict[str, Atoms]:
    """Of every kind; LAMMPS wants the cell's third vector of a slab upright, as it is."""
    found = {kind: lmp.boxed(BUILDERS[kind](SPECIES, 0)) for kind in ("bulk", "triclinic", "slab", "wire", "molecule")}
    cell = [[2.7, 0, 0], [0.4, 2.8, 0], [0.1, -0.3, 2.6]]
    found["small"] = Atoms("SiO", [[0.0, 0.0, 0.0], [1.3, 1.4, 1.2]], cell=cell, pbc=True)
    return found


def expected(potential: Potential, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Energy, atom energies, forces, and stress of the box, whatever is periodic."""
    atoms = atoms.copy()
    atoms.calc = Calculator(potential)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    return energy, atoms.calc.results["energies"], forces, -atoms.calc.results["virial"] / atoms.get_volume()


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("name", ["plain", "compiled", "repulsive"])
def test_equals_ase(name: str, ranks: int, models: dict, plugin: Path, tmp_path: Path) -> None:
    """Energies, forces, stresses of every kind of structure; per-atom virials sum to the total."""
    potential, model = models[name]
    cases = structures()
    commands = []
    for kind, atoms in cases.items():
        commands += lmp.setup(atoms, kind, tmp_path, str(model), SPECIES)
        commands += lmp.measure(kind, ("pe", "stress", "centroid"))
    lmp.run_well(commands, tmp_path, plugin, ranks)
    tolerance = 1e-10 if potential.dtype == torch.float64 else 1e-5
    for kind, atoms in cases.items():
        found, (energy, energies, forces, stress) = lmp.read(atoms, kind, tmp_path), expected(potential, atoms)
        scale = max(1.0, float(abs(forces).max()))
        assert found.energy == pytest.approx(energy, abs=tolerance * max(1.0, abs(energy))), kind
        np.testing.assert_allclose(found.per_atom[:, 0], energies, atol=tolerance * scale, err_msg=kind)
        np.testing.assert_allclose(found.forces, forces, atol=tolerance * scale, err_msg=kind)
        np.testing.assert_allclose(found.stress, stress, rtol=1e-6, atol=tolerance * scale, err_msg=kind)
        symmetric, full = found.per_atom[:, 1:7], found.per_atom[:, 7:]
        np.testing.assert_allclose(symmetric[:, :3], full[:, :3], atol=1e-8)
        np.testing.assert_allclose(symmetric[:, 3:], 0.5 * (full[:, 3:6] + full[:, 6:]), rtol=1e-6, atol=1e-3)
        xx, yy, zz, xy, xz, yz = symmetric.sum(0) * lmp.EV_PER_BAR_A3 / atoms.get_volume()
        total = Prism(atoms.cell.array).tensor2_to_ase(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
        np.testing.assert_allclose(total, found.stress, rtol=1e-6, atol=10 * tolerance * scale, err_msg=kind)


def moments_by_images(potential: Potential, atoms: Atoms, copies: int = 1) -> np.ndarray:
    """W_j = sum_i (r_i - r_j) (x) dE_i/dr_j of each atom, summed over its images, from a cluster of explicit images."""
    from equinet.graph import build_graph
    from equinet_kernels import edge_topology

    count, cell = len(atoms), atoms.cell.array
    shifts = [s for s in np.ndindex(*[2 * copies + 1] * 3) if s != (copies,) * 3]
    shifts = [(copies,) * 3, *shifts]  # the cell itself comes first
    places = np.concatenate([atoms.positions + (np.array(s) - copies) @ cell for s in shifts])
    graph = build_graph(places, np.tile(atoms.numbers, len(shifts)), np.zeros((3, 3)), [False] * 3, potential.cutoff)
    positions = graph.positions.requires_grad_()
    vectors = positions[graph.senders] - positions[graph.receivers]
    topology = edge_topology(graph.senders, graph.receivers, len(places))
    energies = potential.from_vectors(vectors, graph.numbers, topology, len(places), None)[0][0, :count]
    fixed = positions.detach()
    (gradient,) = torch.autograd.grad(energies.sum(), positions, retain_graph=True)
    sums = [(energies * fixed[:count, axis]).sum() for axis in range(3)]
    weighted = [torch.autograd.grad(one, positions, retain_graph=True)[0] for one in sums]
    moments = torch.stack(weighted, dim=1) - fixed.unsqueeze(2) * gradient.unsqueeze(1)
    return moments.reshape(len(shifts), count, 3, 3).sum(0).numpy()


@pytest.mark.parametrize("ranks", RANKS)
def test_moments_across_boundaries(ranks: int, models: dict, plugin: Path, tmp_path: Path) -> None:
    """The nine components of each atom are those of explicit images, though features cross periodic boundaries."""
    potential, model = models["plain"]
    atoms = BUILDERS["triclinic"](SPECIES, 0)
    reach = potential.architecture.reach
    copies = int(np.ceil(reach * np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)).max())
    commands = lmp.setup(atoms, "one", tmp_path, str(model), SPECIES) + lmp.measure("one", ("centroid",))
    lmp.run_well(commands, tmp_path, plugin, ranks)
    rows = -lmp.read(atoms, "one", tmp_path).per_atom * lmp.EV_PER_BAR_A3
    xx, yy, zz, xy, xz, yz, yx, zx, zy = rows.T
    full = np.array([[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]]).transpose(2, 0, 1)
    found = np.array([Prism(atoms.cell.array).tensor2_to_ase(one) for one in full])
    wanted = moments_by_images(potential, atoms, copies)
    assert abs(wanted - wanted.transpose(0, 2, 1)).max() > 0.1  # not symmetric: stress/atom would lose a part
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("ranks", [1, 2])
def test_energy_balance_of_the_heat_flux(ranks: int, models: dict, plugin: Path, tmp_path: Path) -> None:
    """Of a cluster, the flux is the rate at which the energies' centre of mass moves: J = d/dt sum_i r_i e_i."""
    _, model = models["plain"]
    atoms = lmp.boxed(BUILDERS["molecule"](SPECIES, 0), margin=8.0)
    step = 1e-5  # ps
    commands = lmp.setup(atoms, "cluster", tmp_path, str(model), SPECIES)
    commands += [
        "velocity all create 2000 7 dist gaussian", f"timestep {step}",
        "compute ke all ke/atom", "compute pe all pe/atom", "compute st all centroid/stress/atom NULL virial",
        "compute flux all heat/flux ke pe st",
        *(f"variable {a} atom (c_ke+c_pe)*{a}" for a in "xyz"),
        "compute centre all reduce sum v_x v_y v_z", "fix nve all nve",
        "thermo_style custom step c_flux[1] c_flux[2] c_flux[3] c_centre[1] c_centre[2] c_centre[3]",
        "thermo_modify norm no format float %.17g", "thermo 1", "run 4",
    ]  # fmt: skip
    lmp.run_well(commands, tmp_path, plugin, ranks)
    table = np.array(lmp.thermo(tmp_path))
    flux, centre = table[:, 1:4], table[:, 4:]
    rate = (centre[2:] - centre[:-2]) / (2 * step)
    assert abs(rate).max() > 10.0
    np.testing.assert_allclose(flux[1:-1], rate, rtol=2e-5, atol=2e-5 * abs(rate).max())


@pytest.mark.parametrize(("stress", "other"), [("stress", None), ("stress", "centroid"), ("centroid", "stress")])
def test_heat_flux_of_symmetric_stresses_is_refused(
    stress: str, other: str | None, models: dict, plugin: Path, tmp_path: Path
) -> None:
    """By the stress that it is given, whatever else is asked for in the same step, or in another."""
    commands = lmp.setup(structures()["bulk"], "bulk", tmp_path, str(models["plain"][1]), SPECIES)
    commands += [
        "compute ke all ke/atom", "compute pe all pe/atom", f"compute st all {lmp.PER_ATOM[stress]}",
        "compute flux all heat/flux ke pe st", "thermo_style custom step c_flux[1]", "thermo 4", "fix nve all nve",
    ]  # fmt: skip
    if other:
        commands += [f"compute other all {lmp.PER_ATOM[other]}", "dump 1 all custom 2 other.dump id c_other[1]"]
    result = lmp.run([*commands, "run 4"], tmp_path, plugin)
    refused = "heat/flux with compute stress/atom is wrong for many-body potentials" in result.stdout + result.stderr
    assert (refused, result.returncode != 0) == ((stress == "stress",) * 2)


def test_energy_that_is_none_stops(models: dict, plugin: Path, tmp_path: Path) -> None:
    atoms = structures()["bulk"]
    atoms.positions[1] = atoms.positions[0]
    commands = lmp.setup(atoms, "one", tmp_path, str(models["plain"][1]), SPECIES)
    result = lmp.run([*commands, "fix nve all nve", "run 2"], tmp_path, plugin)
    assert result.returncode != 0
    assert "the energy or a force is not finite: two atoms are at one place" in result.stdout + result.stderr


@pytest.mark.parametrize("ranks", RANKS)
def test_deleted_atoms_and_empty_domains(ranks: int, models: dict, plugin: Path, tmp_path: Path) -> None:
    """Ids with gaps; processes without atoms, and without any that they see."""
    potential, model = models["plain"]
    atoms = BUILDERS["bulk"](SPECIES, 0)
    cell = atoms.cell.array.copy()
    cell[2, 2] *= 6.0
    atoms.set_cell(cell)
    commands = lmp.setup(atoms, "gap", tmp_path, str(model), SPECIES)
    commands += ["group gone id 2 5", "delete_atoms group gone compress no", *lmp.measure("gap")]
    commands.insert(1, f"processors 1 1 {ranks}")
    lmp.run_well(commands, tmp_path, plugin, ranks)
    del atoms[[1, 4]]
    energy, energies, forces, _ = expected(potential, atoms)
    found = lmp.read(atoms, "gap", tmp_path)
    assert found.energy == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(found.per_atom[:, 0], energies, atol=1e-9)
    np.testing.assert_allclose(found.forces, forces, atol=1e-9)


@pytest.mark.parametrize("ranks", [1, 2])
def test_sevennet(
    ranks: int, sevenn_wheel: Path, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SevenNet-0 imported, exported and run; five layers deep, in a cell smaller than its reach."""
    monkeypatch.chdir(sevenn_wheel.parent)
    potential = import_sevennet("7net-0").with_dtype(torch.float64)
    export_model(potential, "lammps", tmp_path / "7net-0.pt")
    atoms = bulk("Si", "diamond", 5.43, cubic=True)
    atoms.numbers[2] = 8
    atoms.rattle(0.1, seed=1)
    commands = lmp.setup(atoms, "si", tmp_path, "7net-0.pt", [8, 14]) + lmp.measure("si")
    lmp.run_well(commands, tmp_path, plugin, ranks)
    found, (energy, energies, forces, stress) = lmp.read(atoms, "si", tmp_path), expected(potential, atoms)
    assert found.energy == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(found.per_atom[:, 0], energies, atol=1e-9)
    np.testing.assert_allclose(found.forces, forces, atol=1e-9)
    np.testing.assert_allclose(found.stress, stress, rtol=1e-6, atol=1e-9)


def test_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'equinet-mlip[lammps]'")
    (tmp_path / "plugin").touch()
    assert main(["lammps", "-o", str(tmp_path / "plugin")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot make the folder" in line
    ops = compiled.ops_build
    with pytest.raises(ops.BuildError, match="cannot make the folder"):
        ops.build(tmp_path / "plugin", ops.torch_of_this_interpreter())


def test_real_units(models: dict, plugin: Path, tmp_path: Path) -> None:
    potential, model = models["plain"]
    atoms = structures()["bulk"]
    commands = lmp.setup(atoms, "bulk", tmp_path, str(model), SPECIES, units="real") + lmp.measure("bulk")
    lmp.run_well(commands, tmp_path, plugin)
    found, (energy, _, forces, stress) = lmp.read(atoms, "bulk", tmp_path), expected(potential, atoms)
    assert found.energy / 23.060549 == pytest.approx(energy, rel=1e-9)
    np.testing.assert_allclose(found.forces / 23.060549, forces, atol=1e-9)
    np.testing.assert_allclose(found.stress * 1.01325, stress, rtol=1e-5, atol=1e-7)  # in atmospheres


@pytest.mark.parametrize("ranks", [1, 2])
def test_model_deviation(ranks: int, models: dict, plugin: Path, tmp_path: Path) -> None:
    """DeePMD-kit's columns; the first model drives."""
    potentials = [models[name][0] for name in ("plain", "compiled")]
    files = " ".join(str(models[name][1]) for name in ("plain", "compiled"))
    atoms = structures()["bulk"]
    commands = lmp.setup(atoms, "bulk", tmp_path, f"{files} out_freq 2 out_file devi.out", SPECIES)
    commands += [*lmp.measure("bulk"), "fix nve all nve", "timestep 0.0005", "run 4"]
    # another pair_style writes elsewhere, and as often as by default: not in step 4
    commands += [f"pair_style equinet {files} out_file second.out", "pair_coeff * * C O Si", "run 0"]
    lmp.run_well(commands, tmp_path, plugin, ranks)
    assert len((tmp_path / "second.out").read_text().splitlines()) == 1
    table = np.loadtxt(tmp_path / "devi.out")
    assert table[:, 0].tolist() in ([0, 0, 2, 4], [0, 2, 4])
    answers = [expected(potential, atoms) for potential in potentials]
    np.testing.assert_allclose(lmp.read(atoms, "bulk", tmp_path).forces, answers[0][2], atol=1e-9)
    forces = np.array([answer[2] for answer in answers])
    of_forces = np.sqrt(((forces - forces.mean(0)) ** 2).sum(2).mean(0))
    turn = Prism(atoms.cell.array).vector_to_lammps(np.eye(3))
    virials = np.array([turn.T @ -answer[3] @ turn for answer in answers]) * atoms.get_volume() / len(atoms)
    of_virial = virials.std(0)
    virial = [of_virial.max(), of_virial.min(), np.sqrt((of_virial**2).mean())]
    wanted = [*virial, of_forces.max(), of_forces.min(), of_forces.mean()]
    np.testing.assert_allclose(table[0, 1:], wanted, rtol=1e-5, atol=1e-9)


def test_overlay_and_types_that_are_not_its_own(models: dict, plugin: Path, tmp_path: Path) -> None:
    """hybrid/overlay adds; atoms of NULL types are as if they were not there."""
    potential, model = models["plain"]
    atoms = structures()["bulk"]
    atoms.append("Ar")
    atoms.positions[-1] = atoms.cell.array.sum(0) / 2
    commands = lmp.setup(atoms, "mixed", tmp_path, str(model), [*SPECIES, 18])
    at = next(k for k, command in enumerate(commands) if command.startswith("pair_style"))
    commands[at : at + 2] = [
        f"pair_style hybrid/overlay equinet {model} lj/cut 4.0", "pair_coeff * * equinet C O Si NULL",
        "pair_coeff * * lj/cut 0.0 1.0", "pair_coeff 1*4 4 lj/cut 0.01 1.0",
    ]  # fmt: skip
    lmp.run_well(commands + lmp.measure("mixed"), tmp_path, plugin, 2)
    energy, _, forces, _ = expected(potential, atoms[:-1])
    found = lmp.read(atoms, "mixed", tmp_path)
    vectors = atoms.get_distances(-1, list(range(len(atoms) - 1)), mic=False, vector=True)
    images = np.array(list(np.ndindex(3, 3, 3))) - 1
    lj_energy, lj_forces = 0.0, np.zeros((len(atoms), 3))
    for shift in images @ atoms.cell.array:
        for i, vector in enumerate(vectors):
            d = vector + shift
            r = np.linalg.norm(d)
            if r < 4.0:
                s6 = (1.0 / r) ** 6
                lj_energy += 0.04 * (s6 * s6 - s6)
                pull = 0.04 * (12 * s6 * s6 - 6 * s6) / r**2 * d
                lj_forces[i] += pull
                lj_forces[-1] -= pull
    assert abs(lj_energy) > 1e-4
    assert found.energy == pytest.approx(energy + lj_energy, abs=1e-9)
    np.testing.assert_allclose(found.forces, np.vstack([forces, np.zeros(3)]) + lj_forces, atol=1e-9)


@pytest.mark.parametrize("ranks", [2])
def test_dynamics_restarts_and_relaxation(ranks: int, models: dict, plugin: Path, tmp_path: Path) -> None:
    """NVE and NPT conserve what they must; a restart goes on; minimize with box/relax ends where pressure is none."""
    potential, model = models["plain"]
    atoms = structures()["bulk"]
    setup = lmp.setup(atoms, "bulk", tmp_path, str(model), SPECIES)
    style = [command for command in setup if command.startswith("pair_")]
    table = ["thermo_style custom step temp pe etotal press", "thermo_modify norm no format float %.17g"]
    npt = "fix npt all npt temp 300 300 0.05 iso 0 0 0.5"
    conserved = ["thermo_style custom step temp pe econserve press", table[1], "thermo 1"]
    for integrator in ("fix nve all nve", npt):
        noise = []
        for steps in (60, 120):
            dynamics = ["velocity all create 300 7", f"timestep {0.024 / steps}", integrator, *conserved]
            lmp.run_well([*setup, *dynamics, f"run {steps}"], tmp_path, plugin, ranks)
            noise.append(np.std(np.array(lmp.thermo(tmp_path))[:, 3]))
        # forces and stresses are the energy's derivatives: its error is of order dt^2
        assert noise[0] / noise[1] == pytest.approx(4.0, rel=0.15), integrator

    pressure = [npt, "run 20", "write_restart saved.restart", "run 10"]
    lmp.run_well([*setup, dynamics[0], "timestep 0.0005", *table, "thermo 10", *pressure], tmp_path, plugin, ranks)
    lines = (tmp_path / "log.lammps").read_text().splitlines()
    straight = next(line for line in reversed(lines) if line.split()[:1] == ["30"])
    again = ["clear", "read_restart saved.restart", *style, "timestep 0.0005", pressure[0], *table, "run 10"]
    lmp.run_well(again, tmp_path, plugin, ranks)
    resumed = lmp.thermo(tmp_path)[-1]
    np.testing.assert_allclose(resumed, [float(word) for word in straight.split()], rtol=1e-6)

    relax = [*table, "thermo 1000", "fix box all box/relax aniso 0.0 vmax 0.002", "minimize 0 1e-5 60 600"]
    lmp.run_well([*setup, *relax, "write_data relaxed.data", *lmp.measure("relaxed")], tmp_path, plugin, ranks)
    steps = lmp.thermo(tmp_path)
    assert steps[-1][2] < steps[0][2] - 0.1
    from ase.io import read

    relaxed = read(tmp_path / "relaxed.data", format="lammps-data")
    relaxed.numbers = np.array(SPECIES)[relaxed.arrays["type"] - 1]
    assert expected(potential, relaxed)[0] == pytest.approx(steps[-1][2], abs=1e-6)


def test_verified_within_python(models: dict, plugin: Path, tmp_path: Path) -> None:
    """``equinet verify`` on LAMMPS itself, which then runs in the process that has Python's operators."""
    structures()["bulk"].write(tmp_path / "bulk.extxyz")
    elements = {chemical_symbols[z]: number + 1 for number, z in enumerate(SPECIES)}
    commands = [f"plugin load {plugin}", f"pair_style equinet {models['plain'][1]}", "pair_coeff * * C O Si"]
    keywords = {"lmpcmds": commands, "atom_types": elements, "log_file": "log.lammps", "keep_alive": True}
    command = [sys.executable, "-m", "equinet.cli", "verify", "--calculator", "ase.calculators.lammpslib:LAMMPSlib"]
    command += ["--arguments", json.dumps(keywords), "--structure", "bulk.extxyz", "--json", "checks.json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LD_LIBRARY_PATH": str(Path(sys.prefix) / "lib")}  # of its MPI
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    passed = [check["name"] for check in json.loads((tmp_path / "checks.json").read_text()) if check["passed"]]
    assert {"forces = -dE/dx", "stress = dE/dstrain", "energy error is of order dt^2"} < set(passed)
    assert len(passed) == 11


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("pair_coeff", "pair_coeff * * C O Au"), "does not know 'Au', only C O Si"),
        (("pair_coeff", "pair_coeff * * C O"), "an element, or NULL, for each of the 3 atom types"),
        (("pair_coeff", "pair_coeff 1 2 C O Si"), "must start with * *"),
        (("newton", "newton off"), "needs newton on"),
        (("units", "units lj"), "units lj are not supported; use metal or real"),
        (("pair_style", "pair_style equinet none.pt"), "no file none.pt"),
        (("pair_style", "pair_style equinet scripted.pt"), "was not exported with --to lammps"),
        (("pair_style", "pair_style equinet bulk.data"), "bulk.data cannot be used: it was not written by equinet ex"),
        (("pair_style", "pair_style equinet MODEL out_freq 5"), "out_freq needs two models or more"),
        (("pair_style", "pair_style equinet"), "needs a file"),
        (("pair_style", "pair_style equinet MODEL MODEL out_freq"), "out_freq needs a value"),
    ],
)
def test_bad_input_is_one_line(change: tuple[str, str], words: str, models: dict, plugin: Path, tmp_path: Path) -> None:
    potential, model = models["plain"]
    if "scripted" in change[1]:
        export_model(potential, "torchscript", tmp_path / "scripted.pt")
    commands = lmp.setup(structures()["bulk"], "bulk", tmp_path, str(model), SPECIES) + ["run 0"]
    word, new = change
    commands = [new.replace("MODEL", str(model)) if command.startswith(word) else command for command in commands]
    result = lmp.run(commands, tmp_path, plugin)
    assert result.returncode != 0
    line = next(line for line in (result.stdout + result.stderr).splitlines() if line.startswith("ERROR"))
    assert words in line
