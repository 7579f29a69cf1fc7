"""Published errors that rows stand beside, each with where it was read."""

from dataclasses import dataclass

MACE_PAPER = "Batatia et al., MACE, arXiv:2206.07697"
PYXTAL = "PyXtal_FF, `examples/Si-Python/README.md`"


@dataclass(frozen=True)
class Published:
    """Errors of one model on one test, in the row's measure and units (stress in GPa)."""

    model: str
    energy: float
    forces: float  # meV/Angstrom
    source: str
    stress: float | None = None


def _table(source: str, **errors: tuple[float, float]) -> tuple[Published, ...]:
    return tuple(Published(model.replace("_", " "), *values, source) for model, values in errors.items())


SILICON = (
    Published("PyXtal_FF, BP (14)", 9.25, 120.0, PYXTAL, 0.40),
    Published("PyXtal_FF, EAMD (21)", 4.81, 90.8, PYXTAL, 0.34),
    Published("PyXtal_FF, SO4 (30)", 3.83, 89.4, PYXTAL, 0.30),
    Published("PyXtal_FF, SO3 (30)", 3.95, 82.6, PYXTAL, 0.32),
)
_ACAC = f"{MACE_PAPER}, Table 3"
ACAC_300 = _table(_ACAC, BOTNet=(0.89, 6.3), NequIP=(0.81, 5.90), MACE=(0.9, 5.1))
ACAC_600 = _table(_ACAC, BOTNet=(6.2, 29.8), NequIP=(6.04, 27.8), MACE=(4.6, 22.4))
_3BPA = f"{MACE_PAPER}, Table 2, on the official test files"
BPA_300 = _table(_3BPA, NequIP=(3.3, 10.8), BOTNet=(3.1, 11.0), Allegro=(3.84, 12.98), MACE=(3.0, 8.8))
BPA_600 = _table(_3BPA, NequIP=(11.2, 26.4), BOTNet=(11.5, 26.7), Allegro=(12.07, 29.17), MACE=(9.7, 21.8))
BPA_1200 = _table(_3BPA, NequIP=(38.5, 76.2), BOTNet=(39.1, 81.1), Allegro=(42.57, 82.96), MACE=(29.8, 62.0))

_RMD17 = f"{MACE_PAPER}, Table 1"
RMD17 = {
    "aspirin": _table(_RMD17, MACE=(2.2, 6.6), Allegro=(2.3, 7.3), BOTNet=(2.3, 8.5), NequIP=(2.3, 8.2)),
    "azobenzene": _table(_RMD17, MACE=(1.2, 3.0), Allegro=(1.2, 2.6), BOTNet=(0.7, 3.3), NequIP=(0.7, 2.9)),
    "benzene": _table(_RMD17, MACE=(0.4, 0.3), Allegro=(0.3, 0.2), BOTNet=(0.03, 0.3), NequIP=(0.04, 0.3)),
    "ethanol": _table(_RMD17, MACE=(0.4, 2.1), Allegro=(0.4, 2.1), BOTNet=(0.4, 3.2), NequIP=(0.4, 2.8)),
    "malonaldehyde": _table(_RMD17, MACE=(0.8, 4.1), Allegro=(0.6, 3.6), BOTNet=(0.8, 5.8), NequIP=(0.8, 5.1)),
    "paracetamol": _table(_RMD17, MACE=(1.3, 4.8), Allegro=(1.5, 4.9), BOTNet=(1.3, 5.8), NequIP=(1.4, 5.9)),
    "salicylic": _table(_RMD17, MACE=(0.9, 3.1), Allegro=(0.9, 2.9), BOTNet=(0.8, 4.3), NequIP=(0.7, 4.0)),
    "toluene": _table(_RMD17, MACE=(0.5, 1.5), Allegro=(0.4, 1.8), BOTNet=(0.3, 1.9), NequIP=(0.3, 1.6)),
}
"""With 950 frames to train on and 50 to validate on; MAE."""
RMD17_50 = {
    "aspirin": _table(_RMD17, ACE=(26.2, 63.8), NequIP=(19.5, 52.0), MACE=(17.0, 43.9)),
    "azobenzene": _table(_RMD17, ACE=(9.0, 28.8), NequIP=(6.0, 20.0), MACE=(5.4, 17.7)),
    "benzene": _table(_RMD17, ACE=(0.2, 2.7), NequIP=(0.6, 2.9), MACE=(0.7, 2.7)),
    "ethanol": _table(_RMD17, ACE=(8.6, 43.0), NequIP=(8.7, 40.2), MACE=(6.7, 32.6)),
    "malonaldehyde": _table(_RMD17, ACE=(12.8, 63.5), NequIP=(12.7, 52.5), MACE=(10.0, 43.3)),
    "paracetamol": _table(_RMD17, ACE=(13.6, 45.7), NequIP=(14.3, 39.7), MACE=(9.7, 31.5)),
    "salicylic": _table(_RMD17, ACE=(8.9, 41.7), NequIP=(8.0, 35.0), MACE=(6.5, 28.4)),
    "toluene": _table(_RMD17, ACE=(5.3, 27.1), NequIP=(3.3, 15.1), MACE=(3.1, 12.1)),
}
"""With 50 frames to train on; MAE."""
