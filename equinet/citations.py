"""The papers behind a model, as BibTeX and as one line each; which of them follows from what the model uses.

Pure data: importable without torch, so that ``equinet cite`` answers at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from equinet import __version__
from equinet.lineage import generations, table


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

TORCHSIM = Citation(
    "cohen_torchsim_2025",
    "misc",
    "many structures at once, torch-sim",
    "O. Cohen, J. Riebesell, R. Goodall, A. Kolluru, S. Falletta, J. Krause, J. Colindres, G. Ceder, A. S. Gangan, "
    "arXiv:2508.06628 (2025)",
    {
        "author": "Cohen, Orion and Riebesell, Janosh and Goodall, Rhys and Kolluru, Adeesh and Falletta, Stefano and "
        "Krause, Joseph and Colindres, Jorge and Ceder, Gerbrand and Gangan, Abhijeet S.",
        "title": "{TorchSim}: An efficient atomistic simulation engine in {PyTorch}",
        "year": "2025",
        "eprint": "2508.06628",
        "archiveprefix": "arXiv",
        "doi": "10.48550/arXiv.2508.06628",
    },
)

LAST_LAYER = Citation(
    "bigi_rigidity_2024",
    "article",
    "error bars of one model, from its last layer",
    "F. Bigi, S. Chong, M. Ceriotti, F. Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024), "
    "doi:10.1088/2632-2153/ad805f",
    {
        "author": "Bigi, Filippo and Chong, Sanggyu and Ceriotti, Michele and Grasselli, Federico",
        "title": "A prediction rigidity formalism for low-cost uncertainties in trained neural networks",
        "journal": "Machine Learning: Science and Technology",
        "volume": "5",
        "number": "4",
        "pages": "045018",
        "year": "2024",
        "doi": "10.1088/2632-2153/ad805f",
    },
)

SHRINKAGE = Citation(
    "smyth_linear_2004",
    "article",
    "error bars of a committee: variances of a few members drawn towards the mean",
    "G. K. Smyth, Stat. Appl. Genet. Mol. Biol. 3, 3 (2004), doi:10.2202/1544-6115.1027",
    {
        "author": "Smyth, Gordon K.",
        "title": "Linear models and empirical {B}ayes methods for assessing differential expression in microarray "
        "experiments",
        "journal": "Statistical Applications in Genetics and Molecular Biology",
        "volume": "3",
        "number": "1",
        "pages": "3",
        "year": "2004",
        "doi": "10.2202/1544-6115.1027",
    },
)

BUSSI = Citation(
    "bussi_canonical_2007",
    "article",
    "the thermostat, stochastic velocity rescaling",
    "G. Bussi, D. Donadio, M. Parrinello, J. Chem. Phys. 126, 014101 (2007), doi:10.1063/1.2408420",
    {
        "author": "Bussi, Giovanni and Donadio, Davide and Parrinello, Michele",
        "title": "Canonical sampling through velocity rescaling",
        "journal": "The Journal of Chemical Physics",
        "volume": "126",
        "number": "1",
        "pages": "014101",
        "year": "2007",
        "doi": "10.1063/1.2408420",
    },
)

NOSE_HOOVER = Citation(
    "martyna_chains_1992",
    "article",
    "the thermostat, a chain of Nose and Hoover",
    "G. J. Martyna, M. L. Klein, M. Tuckerman, J. Chem. Phys. 97, 2635 (1992), doi:10.1063/1.463940",
    {
        "author": "Martyna, Glenn J. and Klein, Michael L. and Tuckerman, Mark",
        "title": r"Nos{\'e}--{H}oover chains: The canonical ensemble via continuous dynamics",
        "journal": "The Journal of Chemical Physics",
        "volume": "97",
        "pages": "2635--2643",
        "year": "1992",
        "doi": "10.1063/1.463940",
    },
)

BAROSTAT = Citation(
    "bernetti_pressure_2020",
    "article",
    "constant pressure, stochastic cell rescaling",
    "M. Bernetti, G. Bussi, J. Chem. Phys. 153, 114107 (2020), doi:10.1063/5.0020514",
    {
        "author": "Bernetti, Mattia and Bussi, Giovanni",
        "title": "Pressure control using stochastic cell rescaling",
        "journal": "The Journal of Chemical Physics",
        "volume": "153",
        "number": "11",
        "pages": "114107",
        "year": "2020",
        "doi": "10.1063/5.0020514",
    },
)

FLEXIBLE_BAROSTAT = Citation(
    "deltatto_molecular_2022",
    "article",
    "constant pressure, flexible cells",
    "V. Del Tatto, P. Raiteri, M. Bernetti, G. Bussi, Appl. Sci. 12, 1139 (2022), doi:10.3390/app12031139",
    {
        "author": "Del Tatto, Vittorio and Raiteri, Paolo and Bernetti, Mattia and Bussi, Giovanni",
        "title": "Molecular Dynamics of Solids at Constant Pressure and Stress Using Anisotropic Stochastic Cell "
        "Rescaling",
        "journal": "Applied Sciences",
        "volume": "12",
        "number": "3",
        "pages": "1139",
        "year": "2022",
        "doi": "10.3390/app12031139",
    },
)

PHONOPY = Citation(
    "togo_implementation_2023",
    "article",
    "phonons, phonopy",
    "A. Togo, L. Chaput, T. Tadano, I. Tanaka, J. Phys.: Condens. Matter 35, 353001 (2023), "
    "doi:10.1088/1361-648X/acd831",
    {
        "author": "Togo, Atsushi and Chaput, Laurent and Tadano, Terumasa and Tanaka, Isao",
        "title": "Implementation strategies in phonopy and phono3py",
        "journal": "Journal of Physics: Condensed Matter",
        "volume": "35",
        "number": "35",
        "pages": "353001",
        "year": "2023",
        "doi": "10.1088/1361-648X/acd831",
    },
)

PHONOPY_APPLIED = Citation(
    "togo_first_2023",
    "article",
    "phonons, phonopy",
    "A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), doi:10.7566/JPSJ.92.012001",
    {
        "author": "Togo, Atsushi",
        "title": "First-principles phonon calculations with phonopy and phono3py",
        "journal": "Journal of the Physical Society of Japan",
        "volume": "92",
        "number": "1",
        "pages": "012001",
        "year": "2023",
        "doi": "10.7566/JPSJ.92.012001",
    },
)

CITATIONS = (
    *(EQUINET, NEQUIP, MODALS, SEVENNET, ZBL, E3NN, ASE, GFN2, PYSCF),
    *(TORCHSIM, BUSSI, NOSE_HOOVER, BAROSTAT, FLEXIBLE_BAROSTAT),
    *(LAST_LAYER, SHRINKAGE, PHONOPY, PHONOPY_APPLIED),
)
"""All of them, in the order in which they are printed."""

FEATURES = {
    "batches": (TORCHSIM,),
    "bussi": (BUSSI,),
    "nose-hoover": (NOSE_HOOVER,),
    "npt": (BAROSTAT,),
    "flexible": (BAROSTAT, FLEXIBLE_BAROSTAT),
    "last-layer": (LAST_LAYER,),
    "committee": (SHRINKAGE,),
    "phonons": (PHONOPY, PHONOPY_APPLIED),
}
"""What rests on papers of its own, whatever the model: many structures at once, baths, error bars, phonons."""

_ARCHITECTURES = {"nequip": (NEQUIP,), "compiled-nequip": (NEQUIP,)}
_IMPORTED = {"SevenNet": (SEVENNET,)}
_SAMPLES = {"glycol": (GFN2,), "silicon": (PYSCF,)}


def package_citations() -> list[Citation]:
    """What every use of the package rests on, whatever the model."""
    return [EQUINET, NEQUIP, E3NN, ASE]


def model_citations(header: Mapping[str, Any]) -> list[Citation]:
    """What a model uses, and those that it was fine-tuned from, in the order of :data:`CITATIONS`.

    Args:
        header: of the model file, as :func:`equinet.models.read_header` returns it. Its provenance may hold anything.
    """
    wanted: list[Citation] = [EQUINET, E3NN, ASE, *_ARCHITECTURES.get(str(header.get("architecture")), ())]
    hyper_parameters = table(header.get("hyper_parameters"))
    source = table(hyper_parameters.get("nequip")) or hyper_parameters
    if source.get("modals"):
        wanted.append(MODALS)
    if header.get("zbl"):
        wanted.append(ZBL)
    for provenance in generations(table(header.get("provenance"))):
        wanted += _IMPORTED.get(str(provenance.get("imported_from")), ())
        if provenance.get("modal"):
            wanted.append(MODALS)
        data = table(table(provenance.get("config")).get("data"))
        if not data.get("train_path"):
            wanted += _SAMPLES.get(str(data.get("sample")), ())
    return [citation for citation in CITATIONS if citation in wanted]


def feature_citations(features: Sequence[str]) -> list[Citation]:
    """What features rest on, in the order of :data:`CITATIONS`.

    Args:
        features: names in :data:`FEATURES`.
    """
    wanted = [citation for feature in features for citation in FEATURES[feature]]
    return [citation for citation in CITATIONS if citation in wanted]


def foreign_citation(header: Mapping[str, Any], known: Sequence[Citation]) -> str | None:
    """What a model's provenance asks to cite, where none of the known entries covers it; one line."""
    texts = [generation.get("citation") for generation in generations(table(header.get("provenance")))]
    parts = [" ".join(part.split()) for text in texts if isinstance(text, str) for part in text.split(";")]
    rest = [part for part in dict.fromkeys(parts) if part and not any(_doi(entry) in part for entry in known)]
    return "; ".join(rest).replace("@", "(at)") or None  # no entry hides in it


def _doi(entry: Citation) -> str:
    return entry.fields.get("doi", entry.plain)
