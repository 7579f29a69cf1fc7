#!/usr/bin/env python3
"""Make the sample data sets of equinet/data/samples with real electronic-structure codes.

    pip install tblite ase     # for: make_samples.py molecule
    pip install pyscf ase      # for: make_samples.py crystal

``molecule``  ethylene glycol (1,2-ethanediol) with GFN2-xTB from tblite: Langevin trajectories at several
              temperatures, two scans of the O-C-C-O torsion, and the three isolated atoms.
``crystal``   silicon, Kohn-Sham LDA with k-points from PySCF: strained and rattled cells, with the stress.

Both write <name>_train.extxyz, <name>_val.extxyz and <name>_test.extxyz into --out.  A series (one
trajectory, one scan, one path of strains, one set of rattled cells) goes as a whole into one file.  Labels
are always computed from the rounded geometry that is written, so a file can be checked by itself.  ``check``
reads the files back, counts them, and compares forces and stresses with finite differences of new energies.

Units: eV, Angstrom, eV/A, eV/A^3 (ASE sign: sigma = +1/V dE/d strain; Voigt order xx yy zz yz xz xy), e, e A.
The same seed and the same versions of the packages give the same numbers.
"""

import argparse
import os
import re
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the systems are small: more threads are slower

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

DECIMALS = {"positions": 6, "cell": 6, "energy": 8, "forces": 6, "stress": 8, "dipole": 6, "charges": 6}
SPLITS = ("train", "val", "test")


# ----------------------------------------------------------------------------------------------- shared
def rounded(atoms: "Atoms") -> "Atoms":
    """A copy of the bare geometry with exactly the numbers that will be written."""
    from ase import Atoms

    return Atoms(
        atoms.get_chemical_symbols(),
        positions=np.round(atoms.positions, DECIMALS["positions"]),
        cell=np.round(np.asarray(atoms.cell), DECIMALS["cell"]) if atoms.pbc.any() else None,
        pbc=atoms.pbc,
    )


def frame(atoms: "Atoms", labels: dict[str, Any], **info: Any) -> "Atoms":
    """A frame to write: a geometry, its labels (rounded) and what identifies it."""
    from ase.calculators.singlepoint import SinglePointCalculator

    out = atoms.copy()
    labels = {k: np.round(v, DECIMALS[k]) + 0.0 for k, v in labels.items()}  # no -0.0
    labels["energy"] = float(labels["energy"])
    out.calc = SinglePointCalculator(out, **labels)
    out.info.update(info)
    return out


def write_frames(path: Path, frames: list) -> None:
    """Extended XYZ by ASE, then without the padding and the trailing zeros of the columns."""
    from ase.io import write

    write(path, frames, format="extxyz")
    lines = Path(path).read_text().splitlines()
    for i, line in enumerate(lines):
        if "=" not in line:  # a line with "=" is a comment line: Properties and the info keys
            line = re.sub(r"(\.\d*?)0+(?=\s|$)", lambda m: m[1] if len(m[1]) > 1 else ".0", line)
            lines[i] = re.sub(r" +", " ", line).strip()
    Path(path).write_text("\n".join(lines) + "\n")
    print(f"{path}: {len(frames)} frames, {Path(path).stat().st_size / 1e6:.3f} MB", flush=True)


# --------------------------------------------------------------------------------------------- molecule
# split, trajectory, group, temperature (K), start O-C-C-O torsion, both H-O-C-C torsions, share of --frames
TRAJECTORIES = [
    ("train", "T300_a", "300K", 300.0, 60.0, (-60.0, 180.0), 1.0),
    ("train", "T300_b", "300K", 300.0, 180.0, (180.0, 180.0), 1.0),
    ("train", "T300_c", "300K", 300.0, -60.0, (60.0, 60.0), 1.0),
    ("train", "T600_a", "600K", 600.0, 60.0, (180.0, 180.0), 1.0),
    ("train", "T600_b", "600K", 600.0, 180.0, (60.0, -60.0), 1.0),
    ("train", "T600_c", "600K", 600.0, -60.0, (180.0, 60.0), 1.0),
    ("train", "T600_d", "600K", 600.0, 120.0, (60.0, 180.0), 1.0),
    ("val", "T300_d", "300K", 300.0, 60.0, (60.0, 180.0), 0.46),
    ("val", "T600_e", "600K", 600.0, 180.0, (180.0, 60.0), 0.46),
    ("test", "T300_e", "300K", 300.0, -60.0, (-60.0, 180.0), 0.46),
    ("test", "T300_f", "300K", 300.0, 180.0, (60.0, 180.0), 0.46),
    ("test", "T600_f", "600K", 600.0, 60.0, (-60.0, -60.0), 0.46),
    ("test", "T600_g", "600K", 600.0, 180.0, (180.0, 180.0), 0.46),
    ("test", "T1000_a", "1000K", 1000.0, 60.0, (-60.0, 180.0), 0.62),
    ("test", "T1000_b", "1000K", 1000.0, 180.0, (180.0, 180.0), 0.62),
]
# atoms of glycol(): O1 C1 C2 O2, then the H of O1 and O2, then the H of C1 and of C2
OCCO = (0, 1, 2, 3)
TURNS = [2, 3, 5, 8, 9]  # what turns with C2 about the C-C bond


def tblite(**kwargs: Any) -> Any:
    """The calculator of all molecules."""
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", accuracy=0.01, electronic_temperature=300.0, verbosity=0, **kwargs)


def glycol(torsion: float, hydroxyl: tuple[float, float]) -> "Atoms":
    """HO-CH2-CH2-OH with ideal bonds, the wanted O-C-C-O torsion and the two H-O-C-C torsions."""
    from ase import Atoms

    t, x = np.deg2rad(109.47), np.array([1.0, 0.0, 0.0])

    def around(origin: np.ndarray, axis: np.ndarray, length: float, phi: float) -> np.ndarray:
        side = np.array([0.0, np.cos(np.deg2rad(phi)), np.sin(np.deg2rad(phi))])
        return origin + length * (axis * np.cos(t) + np.sin(t) * side)

    c1, c2 = np.zeros(3), 1.52 * x
    bonds = ((1.42, 0.0), (1.10, 120.0), (1.10, 240.0))  # to O and two H, with their angle about C-C
    o1, h1a, h1b = (around(c1, x, r, p) for r, p in bonds)
    o2, h2a, h2b = (around(c2, -x, r, torsion + p) for r, p in bonds)
    ho = []  # hydroxyl H: first anywhere at the right angle, then turned to the torsion
    for o, c in ((o1, c1), (o2, c2)):
        u = (c - o) / np.linalg.norm(c - o)
        v = np.cross(u, x) / np.linalg.norm(np.cross(u, x))
        ho.append(o + 0.97 * (np.cos(np.deg2rad(107.0)) * u + np.sin(np.deg2rad(107.0)) * v))
    atoms = Atoms("OCCOHHHHHH", positions=[o1, c1, c2, o2, *ho, h1a, h1b, h2a, h2b])
    atoms.set_dihedral(2, 1, 0, 4, hydroxyl[0], indices=[4])
    atoms.set_dihedral(1, 2, 3, 5, hydroxyl[1], indices=[5])
    return atoms


def label_molecule(atoms: "Atoms", calc: Any) -> tuple["Atoms", dict]:
    """The rounded molecule and its labels."""
    atoms = rounded(atoms)
    atoms.calc = calc
    atoms.get_forces()
    return atoms, {k: calc.results[k] for k in ("energy", "forces", "dipole", "charges")}


def run_trajectory(
    start: "Atoms", temperature: float, nframes: int, args: Namespace, seed: list[int]
) -> Iterator["Atoms"]:
    """Langevin dynamics from a relaxed conformer; yields nframes positions after the thermalisation."""
    from ase import units
    from ase.md.langevin import Langevin
    from ase.optimize import BFGS

    atoms = start.copy()
    atoms.calc = tblite()
    BFGS(atoms, logfile=None).run(fmax=0.05, steps=200)
    rng = np.random.default_rng(seed)
    widths = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * widths[:, None])
    bath = {"temperature_K": temperature, "friction": 0.02 / units.fs, "fixcm": False}
    md = Langevin(atoms, args.timestep * units.fs, rng=rng, **bath)
    md.run(round(args.thermalise / args.timestep))
    for _ in range(nframes):
        md.run(round(args.interval / args.timestep))
        yield atoms


def molecule(args: Namespace) -> None:
    """Write the files of ethylene glycol."""
    from ase import Atoms
    from ase.constraints import FixInternals
    from ase.optimize import BFGS

    frames = {s: [] for s in SPLITS}
    for symbol, multiplicity in {"H": 2, "C": 3, "O": 3}.items():
        atoms, labels = label_molecule(Atoms(symbol), tblite(multiplicity=multiplicity))
        info = {"trajectory": f"isolated_{symbol}", "group": "isolated_atom", "config_type": "IsolatedAtom"}
        frames["train"].append(frame(atoms, labels, **info, temperature=0.0))
        print(f"isolated {symbol}: {labels['energy']:.8f} eV", flush=True)

    calc = tblite()
    for i, (split, name, group, temperature, torsion, hydroxyl, share) in enumerate(TRAJECTORIES):
        t0, nframes = time.time(), round(args.frames * share)
        for atoms in run_trajectory(glycol(torsion, hydroxyl), temperature, nframes, args, [args.seed, i]):
            copy = atoms.copy()
            copy.positions -= copy.get_center_of_mass()
            copy, labels = label_molecule(copy, calc)
            frames[split].append(frame(copy, labels, trajectory=name, temperature=temperature, group=group))
        print(f"{name}: {nframes} frames, {time.time() - t0:.0f} s", flush=True)

    # torsion scans: the optimised gauche conformer turned rigidly, and one relaxed at each fixed torsion
    start = glycol(60.0, (-60.0, 180.0))
    start.calc = tblite()
    BFGS(start, logfile=None).run(fmax=0.01, steps=500)
    relaxed = start.copy()
    for angle in (*range(60, 360, 10), *range(0, 60, 10)):  # begin at the conformer itself
        rigid = start.copy()
        rigid.set_dihedral(*OCCO, angle, indices=TURNS)
        relaxed.set_constraint()
        relaxed.set_dihedral(*OCCO, angle, indices=TURNS)
        relaxed.set_constraint(FixInternals(dihedrals_deg=[[angle, list(OCCO)]], epsilon=1e-9))
        relaxed.calc = tblite()
        BFGS(relaxed, logfile=None).run(fmax=0.02, steps=100)
        for name, atoms in (("scan_rigid", rigid), ("scan_relaxed", relaxed)):
            copy = atoms.copy()
            copy.set_constraint()
            copy.positions -= copy.get_center_of_mass()
            copy, labels = label_molecule(copy, calc)
            info = {"trajectory": name, "temperature": 0.0, "group": "torsion_scan", "torsion": float(angle)}
            frames["test"].append(frame(copy, labels, **info))
    for split in SPLITS:
        write_frames(Path(args.out) / f"glycol_{split}.extxyz", frames[split])


# ---------------------------------------------------------------------------------------------- crystal
A0 = 5.48  # lattice constant (A) about which the cells are made, near the minimum of these settings
BASIS, PSEUDO, XC = "gth-szv-molopt-sr", "gth-pade", "lda,vwn"
PRECISION = 1e-6
# atoms: (lattice vectors in those of the two-atom cell, FFT points along each)
SUPERCELL = [[0, 0, 1], [1, -1, 0], [1, 1, -1]]  # tetragonal, a/sqrt(2) x a/sqrt(2) x a
CELLS = {2: (np.eye(3, dtype=int), (20, 20, 20)), 4: (np.array(SUPERCELL), (20, 20, 28))}
# split, series, group, kind, number, size of the strain, rattle (A); the kinds are in make_series()
SERIES = [
    ("train", "volume_a", "volume", "volume", 11, 0.05, 0.0),
    ("train", "uniaxial_a", "strained", "uniaxial", 8, 0.05, 0.0),
    ("train", "shear_a", "strained", "shear_yz", 8, 0.06, 0.0),
    ("train", "strain_a", "strained", "random", 20, 0.03, 0.02),
    ("train", "rattle_a", "rattled", "random", 14, 0.003, 0.04),
    ("train", "rattle_b", "rattled", "random", 14, 0.003, 0.08),
    ("train", "super_a", "supercell", "super", 12, 0.015, 0.06),
    ("val", "strain_b", "strained", "random", 8, 0.03, 0.02),
    ("val", "rattle_c", "rattled", "random", 7, 0.003, 0.06),
    ("val", "super_b", "supercell", "super", 4, 0.015, 0.06),
    ("test", "volume_b", "volume", "volume", 6, 0.06, 0.0),
    ("test", "shear_b", "strained", "shear_110", 6, 0.07, 0.0),
    ("test", "strain_c", "strained", "random", 12, 0.035, 0.02),
    ("test", "rattle_d", "rattled", "random", 7, 0.003, 0.06),
    ("test", "rattle_e", "rattled", "random", 7, 0.003, 0.12),
    ("test", "super_c", "supercell", "super", 6, 0.015, 0.06),
]


def make_series(kind: str, number: int, size: float, rattle: float, rng: np.random.Generator) -> Iterator["Atoms"]:
    """The cells of one series: a path of strains, or random strains and displacements."""
    from ase.build import bulk, make_supercell

    shape = {
        "volume": np.eye(3),
        "uniaxial": np.diag([0.0, 0.0, 1.0]),
        "shear_yz": np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]]) / 2,
        "shear_110": np.diag([1.0, -1.0, 0.0]),
    }
    for amount in np.linspace(-size, size, number):
        atoms = bulk("Si", "diamond", a=A0)
        if kind == "super":
            atoms = make_supercell(atoms, SUPERCELL)
        if kind in shape:
            strain = amount * shape[kind]
        else:
            strain = np.clip(rng.normal(0.0, size, (3, 3)), -2 * size, 2 * size)
            strain = (strain + strain.T) / 2
        atoms.set_cell(np.asarray(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
        atoms.positions += rng.normal(0.0, rattle, atoms.positions.shape) if rattle else 0.0
        yield atoms


def k_points(vectors: np.ndarray, q: int = 2) -> np.ndarray:
    """The k-points, in fractions of the reciprocal vectors, of the cell with these primitive vectors.

    They are the q x q x q Monkhorst-Pack points of the cubic cell, unfolded: 32 for q = 2 and two atoms.
    They keep the cubic symmetry, and a supercell gets the same points folded, so that its energy per atom
    is the same.  Of each pair k, -k one is kept: both have the same density, so this is exact.
    """
    conventional = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])  # in primitive vectors
    x = (np.arange(-2 * q, 2 * q) + 0.5) / q
    grid = np.stack(np.meshgrid(x, x, x, indexing="ij"), -1).reshape(-1, 3)
    frac = grid @ np.linalg.inv(conventional).T @ np.asarray(vectors).T
    frac = np.unique(np.round(frac - np.floor(frac + 1e-9), 9) % 1.0, axis=0)
    kept = []
    for k in frac:
        if not any(np.allclose(k + p, np.round(k + p), atol=1e-6) for p in kept):
            kept.append(k)
    assert 2 * len(kept) == len(frac), "a k-point is its own inverse: the halves would have unequal weights"
    return np.array(kept)


def pyscf_cell(atoms: "Atoms", kfrac: np.ndarray, mesh: list[int]) -> Any:
    """A PySCF cell that evaluates its orbitals on the FFT grid once, not in each SCF step and k-point."""
    from pyscf.pbc import gto

    class Cell(gto.Cell):
        kept_kpts, kept = None, None

        def pbc_eval_gto(self, eval_name, coords, comp=None, kpts=None, kpt=None, **kwargs):  # noqa: ANN001, ANN003, ANN202
            if self.kept_kpts is None or eval_name not in ("GTOval_sph_deriv0", "GTOval_sph_deriv1"):
                return gto.Cell.pbc_eval_gto(self, eval_name, coords, comp, kpts, kpt, **kwargs)
            key = (np.asarray(coords).tobytes(), self._env.tobytes())
            if self.kept is None or self.kept[0] != key:
                name = "GTOval_sph_deriv1"
                self.kept = key, gto.Cell.pbc_eval_gto(self, name, coords, 4, self.kept_kpts)
            wanted = np.reshape(kpts if kpts is not None else kpt, (-1, 3))
            index = [int(np.argmin(np.abs(self.kept_kpts - k).sum(axis=1))) for k in wanted]
            assert np.allclose(self.kept_kpts[index], wanted, atol=1e-9)
            aos = [self.kept[1][i] for i in index]
            return [ao[0] for ao in aos] if eval_name.endswith("0") else aos

    cell = Cell()
    cell.atom = list(zip(atoms.get_chemical_symbols(), atoms.positions, strict=True))
    cell.a, cell.unit = np.array(atoms.cell), "A"
    cell.basis, cell.pseudo, cell.precision = BASIS, PSEUDO, PRECISION
    cell.mesh, cell.verbose = list(mesh), 0
    cell.build()
    cell.kept_kpts = cell.get_abs_kpts(kfrac)
    return cell


def label_crystal(atoms: "Atoms", derivatives: bool = True, q: int = 2, finer: int = 0) -> tuple["Atoms", dict, float]:
    """Energy, forces and stress of a two-atom or four-atom cell."""
    from ase.units import Bohr, Hartree
    from pyscf.pbc import dft

    atoms = rounded(atoms)
    vectors, mesh = CELLS[len(atoms)]
    cell = pyscf_cell(atoms, k_points(vectors, q), [n + finer for n in mesh])
    mf = dft.KRKS(cell, kpts=cell.kept_kpts, xc=XC)
    mf.conv_tol, mf.chkfile = 1e-10, None
    labels = {"energy": mf.kernel() * Hartree}
    assert mf.converged
    nocc = cell.nelectron // 2
    gap = (min(e[nocc] for e in mf.mo_energy) - max(e[nocc - 1] for e in mf.mo_energy)) * Hartree
    assert gap > 0.2, f"gap {gap:.3f} eV: the occupations are not those of an insulator"
    if derivatives:
        gradients = mf.Gradients()
        forces = -gradients.kernel() * Hartree / Bohr
        # sigma = +1/V dE/d strain already, as in ASE; the grid leaves a net force of < 1 meV/A: take it away
        labels["forces"] = forces - forces.mean(axis=0)
        s = np.asarray(gradients.get_stress()) * Hartree / Bohr**3
        s = (s + s.T) / 2
        labels["stress"] = s[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        labels["net_force"] = float(np.abs(forces.sum(axis=0)).max())
    return atoms, labels, gap


def crystal(args: Namespace) -> None:
    """Write the files of silicon."""
    frames = {s: [] for s in SPLITS}
    net, gaps = 0.0, []
    for i, (split, name, group, *recipe) in enumerate(SERIES):
        t0 = time.time()
        for atoms in make_series(*recipe, np.random.default_rng([args.seed, i])):
            atoms, labels, gap = label_crystal(atoms)
            net, gaps = max(net, labels.pop("net_force")), [*gaps, gap]
            frames[split].append(frame(atoms, labels, trajectory=name, temperature=0.0, group=group))
        print(f"{name}: {recipe[1]} frames, {time.time() - t0:.0f} s", flush=True)
    print(f"smallest gap {min(gaps):.3f} eV; largest net force taken away {net:.2e} eV/A")
    for split in SPLITS:
        write_frames(Path(args.out) / f"silicon_{split}.extxyz", frames[split])


# ------------------------------------------------------------------------------------------------ check
def check(args: Namespace) -> None:
    """Read the files back: counts, force sizes, overlaps, bond lengths, finite differences."""
    from ase.io import read

    for name in args.names:
        data = {s: read(Path(args.out) / f"{name}_{s}.extxyz", ":") for s in SPLITS}
        homes = {}
        for split, frames in data.items():
            groups = {}
            for a in frames:
                homes.setdefault(a.info["trajectory"], set()).add(split)
                homes.setdefault((len(a), a.positions.tobytes(), a.cell.array.tobytes()), set()).add(split)
                groups.setdefault(a.info["group"], []).append(a)
                assert np.isfinite(np.append(a.get_forces(), a.get_potential_energy())).all()
                assert not a.pbc.all() or a.get_stress().shape == (6,)
            for group, members in [*groups.items(), ("all", frames)]:
                forces = np.concatenate([a.get_forces() for a in members])
                rms = f"force rms {np.sqrt(np.mean(forces**2)):.4f} eV/A"
                print(f"{name} {split:5s} {group:13s} {len(members):4d} frames, {rms}")
        print(f"{name}: series or frames in two splits:", sum(len(v) > 1 for v in homes.values()))
        {"glycol": check_molecule, "silicon": check_crystal}[name](data)


def difference(energy_of: Callable[[float], float], h: float) -> float:
    """Five-point central difference: the error goes as h^4."""
    return (8 * (energy_of(h) - energy_of(-h)) - (energy_of(2 * h) - energy_of(-2 * h))) / (12 * h)


def moved(atoms: "Atoms", i: int, c: int, h: float) -> "Atoms":
    """The atoms with coordinate c of atom i moved by h."""
    copy = rounded(atoms)
    copy.positions[i, c] += h
    return copy


def check_molecule(data: dict[str, list]) -> None:
    """Forces of a few test frames by differences, all bond lengths."""
    calc, worst = tblite(), 0.0
    molecules = [a for a in data["test"] if len(a) == 10]
    for a in [molecules[i] for i in (0, 130, 250, 300, 399, -1)]:
        for i, c in np.ndindex(len(a), 3):
            fd = -difference(lambda h, m=(a, i, c): calc.get_potential_energy(moved(*m, h)), 5e-3)
            worst = max(worst, abs(fd - a.get_forces()[i, c]))
    print(f"glycol: largest |force - finite difference| over 6 test frames: {worst:.2e} eV/A")
    bonds = {"C-C": "12", "C-O": "01 23", "O-H": "04 35", "C-H": "16 17 28 29"}
    for group in ("300K", "600K", "1000K", "torsion_scan"):
        chosen = [a for s in SPLITS for a in data[s] if a.info["group"] == group]
        parts = []
        for kind, pairs in bonds.items():
            d = np.array([[a.get_distance(int(i), int(j)) for i, j in pairs.split()] for a in chosen])
            parts.append(f"{kind} {d.min():.3f}-{d.max():.3f}")
        print(f"glycol {group}: bonds (A) {', '.join(parts)}")


def check_crystal(data: dict[str, list]) -> None:
    """Forces and stresses of a few test frames by differences; k-points and grid of one of them."""
    from ase.build import bulk, make_supercell

    def energy(atoms: "Atoms", **setting: int) -> float:
        return label_crystal(atoms, derivatives=False, **setting)[1]["energy"]

    def pick(name: str, i: int) -> "Atoms":
        return [a for a in data["test"] if a.info["trajectory"] == name][i]

    for a in (pick("strain_c", 1), pick("rattle_e", 2)):

        def strained(h: float, i: int, j: int, a: "Atoms" = a) -> float:
            b, e = rounded(a), np.zeros((3, 3))
            e[i, j] = h
            b.set_cell(np.asarray(b.cell) @ (np.eye(3) + (e + e.T) / 2), scale_atoms=True)
            return energy(b)

        voigt = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
        fd = [difference(lambda h, p=p: strained(h, *p), 8e-3) / a.get_volume() for p in voigt]
        print("silicon stress  ", np.round(a.get_stress(), 6), "\n    differences ", np.round(fd, 6))
        fd = -difference(lambda h, a=a: energy(moved(a, 0, 0, h)), 0.01)
        print(f"silicon force    {a.get_forces()[0, 0]:.5f}, difference {fd:.5f}")
    pair = bulk("Si", "diamond", a=A0), pick("rattle_e", 2)
    four = energy(make_supercell(pair[1], SUPERCELL)) / 4 - energy(pair[1]) / 2
    print(f"silicon: the same crystal in the four-atom cell: {four:.2e} eV per atom")
    for what, setting in (("as made", {}), ("q = 4", {"q": 4}), ("mesh + 6", {"finer": 6})):
        e, e1 = (energy(b, **setting) / 2 for b in pair)
        print(f"silicon, {what}: ideal {e:.5f}, rattled above it {e1 - e:.5f} eV per atom", flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sub = parser.add_subparsers(dest="command", required=True)
    here = Path(__file__).resolve().parent.parent / "equinet" / "data" / "samples"
    m = sub.add_parser("molecule", help="ethylene glycol with GFN2-xTB (tblite); about five minutes")
    m.add_argument("--frames", type=int, default=130, help="frames of a training trajectory (default 130)")
    m.add_argument("--timestep", type=float, default=0.5, help="fs (default 0.5)")
    m.add_argument("--interval", type=float, default=25.0, help="fs between frames (default 25)")
    m.add_argument("--thermalise", type=float, default=2000.0, help="fs before the first (default 2000)")
    c = sub.add_parser("crystal", help="silicon with LDA (PySCF); about ten minutes on one core")
    k = sub.add_parser("check", help="read the files back and verify them (needs the code that made them)")
    k.add_argument("names", nargs="+", choices=["glycol", "silicon"])
    for p in (m, c, k):
        p.add_argument("--out", type=Path, default=here, help=f"folder of the files (default {here.name})")
    for p in (m, c):
        p.add_argument("--seed", type=int, default=2024, help="seed of everything random (default 2024)")
    args = parser.parse_args()
    {"molecule": molecule, "crystal": crystal, "check": check}[args.command](args)


if __name__ == "__main__":
    main()
