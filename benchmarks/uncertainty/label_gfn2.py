"""Energies and forces of GFN2-xTB for the frames of a file, with tblite; runs in an environment of its own.

    python label_gfn2.py frames.extxyz labelled.extxyz

Settings are those of the sample glycol (scripts/make_samples.py). Frames whose cycles do not converge are left out.
"""

import sys

import ase.io
from ase.calculators.calculator import CalculationFailed
from ase.calculators.singlepoint import SinglePointCalculator
from tblite.ase import TBLite


def main(source: str, target: str) -> None:
    """Label what can be."""
    labelled, failed = [], 0
    for frame in ase.io.read(source, ":"):
        frame.calc = TBLite(method="GFN2-xTB", accuracy=0.01, electronic_temperature=300.0, verbosity=0)
        try:
            results = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
        except (CalculationFailed, RuntimeError):
            failed += 1
            continue
        frame.calc = SinglePointCalculator(frame, **results)
        labelled.append(frame)
    ase.io.write(target, labelled, format="extxyz")
    print(f"{len(labelled)} frames labelled, {failed} failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
