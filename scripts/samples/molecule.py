"""Ethylene glycol with GFN2-xTB from tblite: trajectories, torsion scans, isolated atoms."""

import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samples.frames import SPLITS, difference, frame, moved, rounded, write_frames

if TYPE_CHECKING:
    from ase import Atoms

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
