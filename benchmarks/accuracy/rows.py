"""The rows that ``scripts/accuracy.py`` measures: data, configuration, what is compared with. Settings of the training
itself stand in the configurations alone."""

from dataclasses import dataclass
from typing import Literal

from benchmarks.accuracy import published
from benchmarks.accuracy.published import Published


@dataclass(frozen=True)
class Comparison:
    """A file to test on, or a part of one."""

    name: str
    file: str | None  # in the data folder; None: the frames held out of the training file
    published: tuple[Published, ...] = ()
    blocks: tuple[int, int] | None = None  # the frames with info source_index from the first up to below the second
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A model to train, once for each seed, and to test.

    The seed gives initial weights, order of batches, the validation split, and which ``frames`` are drawn.
    """

    name: str
    title: str
    config: str  # of the repository
    train: str  # file in the data folder
    tests: tuple[Comparison, ...]
    isolated: str | None = None  # file of isolated atoms, for E0
    hold_out: int | None = None  # this share, 1/n, of each group is not trained on but tested on: every n-th frame
    frames: int | None = None  # to train on; None for all but validation
    validation: float = 0.1  # share of the file set aside to choose the epoch; 0: none, the last weights are taken
    measure: Literal["mae", "rmse"] = "mae"
    energy: Literal["mev_per_atom", "mev"] = "mev_per_atom"
    group: str | None = None  # info key
    apart: tuple[str, ...] = ()  # groups that are not in the headline
    note: str = ""


def _mlearn(element: str, name: str, tests: tuple[Comparison, ...], hold_out: int | None = None, note: str = "") -> Row:
    return Row(
        name=f"mlearn-{element}",
        title=f"{name}, mlearn set (Zuo et al., J. Phys. Chem. A 124, 731 (2020))",
        config="configs/mlearn.yaml",
        train=f"mlearn_{element}/train.extxyz",
        tests=tests,
        hold_out=hold_out,
        group="group",
        apart=("Elastic",),
        note=note,
    )


def _rmd17(molecule: str, frames: int | None) -> Row:
    few = frames is not None
    return Row(
        name=f"rmd17-{molecule}" + (f"-{frames}" if few else ""),
        title=f"rMD17 {molecule}, " + (f"{frames} training frames" if few else "950 training frames, 50 to validate"),
        config="configs/rmd17_50.yaml" if few else "configs/molecule.yaml",
        train=f"rmd17_{molecule}/train_01.extxyz",
        tests=(
            Comparison(
                "test_01",
                f"rmd17_{molecule}/test_01.extxyz",
                (published.RMD17_50 if few else published.RMD17)[molecule],
            ),
        ),
        frames=frames,
        validation=0.0 if few else 0.05,
        energy="mev",
        note="The seed also draws the training frames; no further frame is used, not even to choose the epoch."
        if few
        else "",
    )


ROWS = (
    _mlearn("Si", "silicon", (Comparison("test", "mlearn_Si/test.extxyz", published.SILICON),)),
    Row(
        name="acac",
        title="acetylacetone, trained at 300 K",
        config="configs/molecule.yaml",
        train="acac/train_300K.extxyz",
        isolated="acac/isolated_atoms.extxyz",
        tests=(
            Comparison("300 K", "acac/test_MD_300K.extxyz", published.ACAC_300),
            Comparison(
                "600 K",
                "acac/train_600K.extxyz",
                published.ACAC_600,
                note="The set's 600 K training file, never trained on here; published rows are of its 600 K test file.",
            ),
        ),
        measure="rmse",
        energy="mev",
    ),
    _rmd17("ethanol", 50),
    Row(
        name="nbmotaw",
        title="NbMoTaW alloy, SNAP set without quaternaries to train on (Li et al., npj Comput. Mater. 6, 70 (2020))",
        config="configs/alloy.yaml",
        train="nbmotaw_snap/train.extxyz.gz",
        tests=(Comparison("test", "nbmotaw_snap/test.extxyz"),),
        validation=0.05,
        group="group",
        note="TaNbMoW: quaternary frames of a composition that no training frame has.",
    ),
    _mlearn("Ge", "germanium", (Comparison("test", "mlearn_Ge/test.extxyz"),)),
    _mlearn("Li", "lithium", (Comparison("test", "mlearn_Li/test.extxyz"),)),
    _mlearn(
        "Mo",
        "molybdenum",
        (Comparison("held out", None),),
        hold_out=10,
        note="The official test file is not at hand: every tenth frame of each group is held out of the training file.",
    ),
    Row(
        name="zeolite",
        title="silica zeolites, 298 to 1000 K (Si-ZEO22)",
        config="configs/zeolite.yaml",
        train="sio2_zeolite/train.extxyz",
        tests=(Comparison("test", "sio2_zeolite/test.extxyz"),),
        group="topology",
    ),
    Row(
        name="3bpa",
        title="3BPA, trained at 300 K, NOT the official test",
        config="configs/molecule.yaml",
        train="3bpa/train_300K.extxyz",
        isolated="3bpa/isolated_atoms.extxyz",
        tests=tuple(
            Comparison(f"{temperature} K", "3bpa/mixedT_a.extxyz", rows, blocks)
            for temperature, rows, blocks in (
                (300, published.BPA_300, (0, 167)),
                (600, published.BPA_600, (167, 334)),
                (1200, published.BPA_1200, (334, 1000)),
            )
        ),
        measure="rmse",
        energy="mev",
        note="Tested on half of the set's mixed-temperature training file, never trained on; temperatures are told by "
        "the blocks of that file. Published rows are of the official test files and do not compare directly.",
    ),
    *(_rmd17(molecule, 50) for molecule in ("aspirin", "azobenzene")),
    *(_rmd17(molecule, None) for molecule in ("ethanol", "aspirin", "azobenzene")),
    *(_rmd17(m, 50) for m in ("benzene", "malonaldehyde", "paracetamol", "salicylic", "toluene")),
    *(_rmd17(m, None) for m in ("benzene", "malonaldehyde", "paracetamol", "salicylic", "toluene")),
)
"""In the order of worth."""


def row(name: str) -> Row:
    """Find a row.

    Raises:
        KeyError: there is none of this name.
    """
    return {each.name: each for each in ROWS}[name]
