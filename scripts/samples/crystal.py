"""Silicon, Kohn-Sham LDA with k-points from PySCF: strained and rattled cells, with the stress."""

import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samples.frames import SPLITS, difference, frame, moved, rounded, write_frames

if TYPE_CHECKING:
    from ase import Atoms

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
