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
from argparse import Namespace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the systems are small: more threads are slower

import numpy as np
from samples.crystal import check_crystal, crystal
from samples.frames import SPLITS
from samples.molecule import check_molecule, molecule


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
