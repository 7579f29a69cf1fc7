"""``equinet cite``: BibTeX that BibTeX reads, of what the model uses."""

import re

import pytest

from equinet.citations import (
    ASE,
    BAROSTAT,
    CITATIONS,
    E3NN,
    EQUINET,
    FEATURES,
    GFN2,
    MODALS,
    NEQUIP,
    PHONOPY,
    PHONOPY_APPLIED,
    PYSCF,
    SEVENNET,
    TORCHSIM,
    ZBL,
    feature_citations,
    model_citations,
)
from equinet.models import ARCHITECTURES, NequIPArchitecture, Potential, save_model
from equinet.simulate.ensembles import THERMOSTATS

OF_GLYCOL = {"config": {"data": {"sample": "glycol"}}}
REQUIRED = {
    "article": {"author", "title", "journal", "year", "volume", "pages", "doi"},
    "book": {"author", "title", "publisher", "year"},
    "misc": {"author", "title", "year", "eprint"},
    "software": {"author", "title", "version", "url"},
}
ALWAYS = [EQUINET, NEQUIP, E3NN, ASE]


def entries(text):
    """A strict reading of BibTeX: (kind, key, fields) of each entry; values in balanced braces."""
    found = []
    position = 0
    while (start := text.find("@", position)) >= 0:
        head = re.compile(r"@(\w+)\{([\w:-]+),\s*").match(text, start)
        assert head, text[start : start + 40]
        position = head.end()
        fields = {}
        while text[position] != "}":
            name = re.compile(r"(\w+)\s*=\s*\{").match(text, position)
            assert name, text[position : position + 40]
            depth, begin = 1, name.end()
            position = begin
            while depth:
                depth += {"{": 1, "}": -1}.get(text[position], 0)
                position += 1
            assert name[1] not in fields
            fields[name[1]] = text[begin : position - 1]
            assert text[position] == ","
            position = re.compile(r",\s*").match(text, position).end()
        found.append((head[1], head[2], fields))
        position += 1
    return found


def test_every_entry_is_well_formed():
    read = entries("\n\n".join(citation.bibtex() for citation in CITATIONS))
    assert len({key for _, key, _ in read}) == len(read) == len(CITATIONS)
    for (kind, key, fields), citation in zip(read, CITATIONS, strict=True):
        assert (kind, key, fields) == (citation.kind, citation.key, dict(citation.fields))
        assert REQUIRED[kind] <= set(fields), key
        for name, value in fields.items():
            assert value.isascii(), (key, name)
            assert not re.search(r"(?<!\\)[%&#$]", value), (key, name)
        if "doi" in fields:
            assert re.fullmatch(r"10\.\d{4,5}/[\w.()/-]+", fields["doi"])
            assert fields["doi"] in citation.plain or fields.get("eprint", "-") in citation.plain
        if kind != "software":
            assert re.fullmatch(r"(19|20)\d\d", fields["year"])
            assert fields["year"] in citation.plain
        for author in fields["author"].split(" and ") if kind != "software" else []:
            assert author == "others" or re.fullmatch(r"[^,]+, [^,]+", author), author
        assert "\n" not in citation.plain


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_its_paper(architecture):
    assert len(model_citations({"architecture": architecture})) > len([EQUINET, E3NN, ASE])


@pytest.mark.parametrize(
    ("header", "more"),
    [
        ({}, []),
        ({"zbl": True}, [ZBL]),
        ({"hyper_parameters": {"modals": ["PBE"]}}, [MODALS]),
        ({"hyper_parameters": {"nequip": {"modals": []}}, "provenance": {"modal": "PBE"}}, [MODALS]),
        ({"provenance": {"imported_from": "SevenNet"}}, [SEVENNET]),
        ({"provenance": {"config": {"data": {"sample": "glycol", "train_path": None}}}}, [GFN2]),
        ({"provenance": {"config": {"data": {"sample": "silicon"}}}}, [PYSCF]),
        ({"provenance": {"config": {"data": {"sample": "silicon", "train_path": "mine.xyz"}}}}, []),
        ({"provenance": "nonsense", "hyper_parameters": 3}, []),
        ({"provenance": {"parent": {"provenance": {"imported_from": "SevenNet"}}}}, [SEVENNET]),
        (
            {"provenance": {"parent": {"provenance": {"modal": "PBE", "parent": {"provenance": OF_GLYCOL}}}}},
            [MODALS, GFN2],
        ),
        ({"provenance": {"parent": {"provenance": "nonsense"}}}, []),
    ],
)
def test_what_is_cited_follows_from_what_the_model_uses(header, more):
    assert model_citations({"architecture": "nequip"} | header) == [c for c in CITATIONS if c in ALWAYS + more]


def test_cite(run, model_file, tmp_path):
    code, out, err = run("cite")
    assert (code, err) == (0, "")
    assert [key for _, key, _ in entries(out)] == [c.key for c in ALWAYS]
    plain = run("cite", "--plain")[1].splitlines()
    assert len(plain) == 4
    assert "Nat. Commun. 13, 2453 (2022)" in plain[1]
    assert [key for _, key, _ in entries(run("cite", model_file)[1])] == [c.key for c in ALWAYS]

    potential = Potential(
        NequIPArchitecture(cutoff=3.0, layers=1, l_max=0, channels=2, mean_neighbors=1.0),
        species=[1],
        isolated_energies=[0.0],
        scale=1.0,
        zbl=True,
        provenance={
            "imported_from": "SevenNet",
            "citation": "Park et al. (2024), doi:10.1021/acs.jctc.4c00190; A. Nother, @article{trap}",
        },
    )
    save_model(potential, tmp_path / "own.safetensors")
    out = run("cite", tmp_path / "own.safetensors")[1]
    assert {SEVENNET.key, ZBL.key} < {key for _, key, _ in entries(out)}
    assert out.splitlines()[-1] == "% the model's own words: A. Nother, (at)article{trap}"
    potential.provenance = {"citation": "Mine", "parent": {"provenance": potential.provenance}}
    save_model(potential, tmp_path / "tuned.safetensors")
    out = run("cite", tmp_path / "tuned.safetensors")[1]
    assert SEVENNET.key in {key for _, key, _ in entries(out)}
    assert out.splitlines()[-1] == "% the model's own words: Mine; A. Nother, (at)article{trap}"


def test_what_was_used_is_cited_too(run, model_file):
    """Each citation is printed somewhere, and every feature of dynamics has its paper."""
    out = run("cite", model_file, "--used", "phonons", "batches", "npt")[1]
    assert [key for _, key, _ in entries(out)] == [
        c.key for c in [*ALWAYS, TORCHSIM, BAROSTAT, PHONOPY, PHONOPY_APPLIED]
    ]
    assert {thermostat for thermostat in THERMOSTATS if thermostat != "langevin"} < set(FEATURES)
    of_features = {c.key for c in feature_citations(list(FEATURES))}
    of_models = {c.key for c in (EQUINET, NEQUIP, MODALS, SEVENNET, ZBL, E3NN, ASE, GFN2, PYSCF)}
    assert of_features | of_models == {c.key for c in CITATIONS}
    assert not of_features & of_models
    assert run("cite", "--used", "magic")[0] == 2


def test_errors(fails, tmp_path):
    assert "no model file" in fails("cite", tmp_path / "absent.safetensors")
