"""The papers behind a model, as BibTeX and as one line each; which of them follows from what the model uses.

Pure data: importable without torch, so that ``equinet cite`` answers at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from equinet import __version__


@dataclass(frozen=True)
class Citation:
    """One entry of a bibliography.

    Attributes:
        key: of the BibTeX entry.
        kind: "article", "book", "misc" or "software".
        why: what of a model asks for it, in a few words.
        plain: one line of text.
        fields: of the BibTeX entry, in order; values are LaTeX.
    """

    key: str
    kind: str
    why: str
    plain: str
    fields: Mapping[str, str]

    def bibtex(self) -> str:
        """The BibTeX entry, without a newline at its end."""
        width = max(map(len, self.fields))
        lines = [f"  {name:{width}} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


EQUINET = Citation(
    "equinet",
    "software",
    "the software",
    f"The equinet developers, equinet: E(3)-equivariant machine-learned interatomic potentials, version {__version__}, "
    "https://github.com/equinet-mlip/equinet",
    {
        "author": "{The equinet developers}",
        "title": "{equinet}: {E}(3)-equivariant machine-learned interatomic potentials",
        "version": __version__,
        "url": "https://github.com/equinet-mlip/equinet",
        "license": "MIT",
    },
)

NEQUIP = Citation(
    "batzner_nequip_2022",
    "article",
    "the architecture, NequIP",
    "S. Batzner, A. Musaelian, L. Sun, M. Geiger, J. P. Mailoa, M. Kornbluth, N. Molinari, T. E. Smidt, B. Kozinsky, "
    "Nat. Commun. 13, 2453 (2022), doi:10.1038/s41467-022-29939-5",
    {
        "author": "Batzner, Simon and Musaelian, Albert and Sun, Lixin and Geiger, Mario and Mailoa, Jonathan P. and "
        "Kornbluth, Mordechai and Molinari, Nicola and Smidt, Tess E. and Kozinsky, Boris",
        "title": "{E}(3)-equivariant graph neural networks for data-efficient and accurate interatomic potentials",
        "journal": "Nature Communications",
        "volume": "13",
        "number": "1",
        "pages": "2453",
        "year": "2022",
        "doi": "10.1038/s41467-022-29939-5",
    },
)

MODALS = Citation(
    "kim_multifidelity_2025",
    "article",
    "several levels of theory in one model",
    "J. Kim, J. Kim, J. Kim, J. Lee, Y. Park, Y. Kang, S. Han, J. Am. Chem. Soc. 147, 1042 (2025), "
    "doi:10.1021/jacs.4c14455",
    {
        "author": "Kim, Jaesun and Kim, Jisu and Kim, Jaehoon and Lee, Jiho and Park, Yutack and Kang, Youngho and "
        "Han, Seungwu",
        "title": "Data-efficient multifidelity training for high-fidelity machine learning interatomic potentials",
        "journal": "Journal of the American Chemical Society",
        "volume": "147",
        "number": "1",
        "pages": "1042--1054",
        "year": "2025",
        "doi": "10.1021/jacs.4c14455",
    },
)

SEVENNET = Citation(
    "park_sevennet_2024",
    "article",
    "the trained weights, imported from SevenNet",
    "Y. Park, J. Kim, S. Hwang, S. Han, J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190",
    {
        "author": "Park, Yutack and Kim, Jaesun and Hwang, Seungwoo and Han, Seungwu",
        "title": "Scalable parallel algorithm for graph neural network interatomic potentials in molecular dynamics "
        "simulations",
        "journal": "Journal of Chemical Theory and Computation",
        "volume": "20",
        "number": "11",
        "pages": "4857--4868",
        "year": "2024",
        "doi": "10.1021/acs.jctc.4c00190",
    },
)

ZBL = Citation(
    "ziegler_stopping_1985",
    "book",
    "the screened nuclear repulsion (ZBL)",
    "J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids (Pergamon, New York, 1985)",
    {
        "author": "Ziegler, J. F. and Biersack, J. P. and Littmark, U.",
        "title": "The Stopping and Range of Ions in Solids",
        "series": "The Stopping and Range of Ions in Matter",
        "volume": "1",
        "publisher": "Pergamon",
        "address": "New York",
        "year": "1985",
    },
)

E3NN = Citation(
    "geiger_e3nn_2022",
    "misc",
    "the equivariant algebra, e3nn",
    "M. Geiger, T. Smidt, e3nn: Euclidean Neural Networks, arXiv:2207.09453 (2022)",
    {
        "author": "Geiger, Mario and Smidt, Tess",
        "title": "{e3nn}: {E}uclidean Neural Networks",
        "year": "2022",
        "eprint": "2207.09453",
        "archiveprefix": "arXiv",
        "primaryclass": "cs.LG",
        "doi": "10.48550/arXiv.2207.09453",
    },
)

ASE = Citation(
    "larsen_ase_2017",
    "article",
    "structures, files and simulations, ASE",
    "A. Hjorth Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017), doi:10.1088/1361-648X/aa680e",
    {
        "author": r"Hjorth Larsen, Ask and Mortensen, Jens J{\o}rgen and Blomqvist, Jakob and Castelli, Ivano E. and "
        r"Christensen, Rune and Du{\l}ak, Marcin and Friis, Jesper and Groves, Michael N. and Hammer, Bj{\o}rk and "
        r"Hargus, Cory and Hermes, Eric D. and Jennings, Paul C. and Jensen, Peter Bjerre and Kermode, James and "
        r"Kitchin, John R. and Kolsbjerg, Esben Leonhard and Kubal, Joseph and Kaasbjerg, Kristen and Lysgaard, Steen "
        r"and Maronsson, J{\'o}n Bergmann and Maxson, Tristan and Olsen, Thomas and Pastewka, Lars and Peterson, "
        r"Andrew and Rostgaard, Carsten and Schi{\o}tz, Jakob and Sch{\"u}tt, Ole and Strange, Mikkel and Thygesen, "
        r"Kristian S. and Vegge, Tejs and Vilhelmsen, Lasse and Walter, Michael and Zeng, Zhenhua and Jacobsen, "
        r"Karsten W.",
        "title": "The atomic simulation environment---a {P}ython library for working with atoms",
        "journal": "Journal of Physics: Condensed Matter",
        "volume": "29",
        "number": "27",
        "pages": "273002",
        "year": "2017",
        "doi": "10.1088/1361-648X/aa680e",
    },
)

GFN2 = Citation(
    "bannwarth_gfn2_2019",
    "article",
    "the labels of the sample glycol, GFN2-xTB",
    "C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019), doi:10.1021/acs.jctc.8b01176",
    {
        "author": "Bannwarth, Christoph and Ehlert, Sebastian and Grimme, Stefan",
        "title": "{GFN2-xTB}---An accurate and broadly parametrized self-consistent tight-binding quantum chemical "
        "method with multipole electrostatics and density-dependent dispersion contributions",
        "journal": "Journal of Chemical Theory and Computation",
        "volume": "15",
        "number": "3",
        "pages": "1652--1671",
        "year": "2019",
        "doi": "10.1021/acs.jctc.8b01176",
    },
)

PYSCF = Citation(
    "sun_pyscf_2020",
    "article",
    "the labels of the sample silicon, PySCF",
    "Q. Sun et al., J. Chem. Phys. 153, 024109 (2020), doi:10.1063/5.0006074",
    {
        "author": "Sun, Qiming and Zhang, Xing and Banerjee, Samragni and Bao, Peng and Barbry, Marc and Blunt, Nick "
        "S. and Bogdanov, Nikolay A. and Booth, George H. and Chen, Jia and Cui, Zhi-Hao and others",
        "title": "Recent developments in the {PySCF} program package",
        "journal": "The Journal of Chemical Physics",
        "volume": "153",
        "number": "2",
        "pages": "024109",
        "year": "2020",
        "doi": "10.1063/5.0006074",
    },
)

CITATIONS = (EQUINET, NEQUIP, MODALS, SEVENNET, ZBL, E3NN, ASE, GFN2, PYSCF)
"""All of them, in the order in which they are printed."""

_ARCHITECTURES = {"nequip": (NEQUIP,), "compiled-nequip": (NEQUIP,)}
_IMPORTED = {"SevenNet": (SEVENNET,)}
_SAMPLES = {"glycol": (GFN2,), "silicon": (PYSCF,)}


def package_citations() -> list[Citation]:
    """What every use of the package rests on, whatever the model."""
    return [EQUINET, NEQUIP, E3NN, ASE]


def model_citations(header: Mapping[str, Any]) -> list[Citation]:
    """What a model uses, in the order of :data:`CITATIONS`.

    Args:
        header: of the model file, as :func:`equinet.models.read_header` returns it. Its provenance may hold anything.
    """
    wanted: list[Citation] = [EQUINET, E3NN, ASE, *_ARCHITECTURES.get(str(header.get("architecture")), ())]
    provenance = _table(header.get("provenance"))
    hyper_parameters = _table(header.get("hyper_parameters"))
    source = _table(hyper_parameters.get("nequip")) or hyper_parameters
    wanted += _IMPORTED.get(str(provenance.get("imported_from")), ())
    if source.get("modals") or provenance.get("modal"):
        wanted.append(MODALS)
    if header.get("zbl"):
        wanted.append(ZBL)
    data = _table(_table(provenance.get("config")).get("data"))
    if not data.get("train_path"):
        wanted += _SAMPLES.get(str(data.get("sample")), ())
    return [citation for citation in CITATIONS if citation in wanted]


def foreign_citation(header: Mapping[str, Any], known: Sequence[Citation]) -> str | None:
    """What a model's provenance asks to cite, where none of the known entries covers it; one line."""
    text = _table(header.get("provenance")).get("citation")
    if not isinstance(text, str) or not text.strip():
        return None
    rest = [part.strip() for part in text.split(";") if not any(_doi(entry) in part for entry in known)]
    return "; ".join(" ".join(part.split()) for part in rest).replace("@", "(at)") or None  # no entry hides in it


def _doi(entry: Citation) -> str:
    return entry.fields.get("doi", entry.plain)


def _table(value: Any) -> Mapping[str, Any]:
    """A stranger's header may hold anything where a table should be."""
    return value if isinstance(value, Mapping) else {}
