"""Where a model card's facts come from: the model file, the run it lies in, and tests of this very file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equinet.errors import InputError
from equinet.lineage import generations, parents, table
from equinet.models import Potential, load_model, read_header
from equinet.models.facts import ModelFacts, describe
from equinet.training.report.writing import ERRORS
from equinet.training.run_directory import RunDirectory

NOT_RECORDED = "not recorded"

SAMPLE_LEVELS = {
    "glycol": "GFN2-xTB (tblite 0.8.0)",
    "silicon": "LDA (lda,vwn), GTH-PADE pseudopotential (PySCF 2.14.0)",
}
"""Of the samples that ship with the package, as their README states."""


@dataclass(frozen=True)
class MeasuredErrors:
    """Errors of a data set or a group of it: what ``equinet test`` wrote; energies of one test, keyed with units."""

    data_set: str
    group: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class CardSources:
    """Everything a card is made of.

    Provenance and errors are of files that may hold anything: ask :func:`equinet.lineage.table`.
    """

    path: Path
    header: Mapping[str, Any]
    facts: ModelFacts
    potential: Potential
    training: Mapping[str, Any]  # training.json of the run, where it is this model's
    tests: Sequence[tuple[Path, Mapping[str, Any]]]  # file of errors, and its content

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Of the header."""
        return table(self.header.get("provenance"))

    @property
    def parents(self) -> list[Mapping[str, Any]]:
        """What the model was fine-tuned from, nearest first: file, sha256 and provenance of each."""
        return parents(self.provenance)

    @property
    def refits_references(self) -> bool:
        """Whether a fine-tuning shifted the parent's reference energies to fit the new data."""
        finetune = table(table(self.config.get("model")).get("finetune"))
        return bool(self.parents and finetune.get("refit_isolated_energies"))

    @property
    def replay(self) -> Mapping[str, Any]:
        """The file of replayed structures; empty where nothing was replayed."""
        path = table(table(self.config.get("data")).get("replay")).get("path")
        return table(self.provenance.get("replay")) or ({"file": path} if path else {})

    @property
    def config(self) -> Mapping[str, Any]:
        """Of the training."""
        return table(self.provenance.get("config"))

    @property
    def levels(self) -> list[Mapping[str, Any]]:
        """Statistics of the training data: of each level of theory, where there are several."""
        return levels_of(self.provenance)

    def statistic(self, name: str) -> Any:
        """One of the statistics over all training data, in fine-tuning the new; None where it was not recorded."""
        return table(self.provenance.get("statistics")).get(name)

    def statistic_of_generations(self, name: str) -> list[Any]:
        """The same, then of the training data of each model that this one descends from."""
        return [table(one.get("statistics")).get(name) for one in generations(self.provenance)]

    def training_checksums(self) -> set[str]:
        """SHA-256 of the files that this model, and those that it descends from, were trained on."""
        files = [table(table(one.get("data")).get("train")) for one in generations(self.provenance)]
        return {str(file["sha256"]) for file in files if file.get("sha256")}

    def level_of_theory(self) -> tuple[str, str] | None:
        """The level, and where it was stated; None where nobody did."""
        stated = self.provenance.get("level_of_theory")
        if stated:
            return str(stated), "provenance of the model file"
        if self.facts.modal:
            return self.facts.modal, "name of the level in the model file"
        if self.potential.modals:
            return ", ".join(self.potential.modals), "names of the levels in the model file"
        data = table(self.config.get("data"))
        sample = str(data.get("sample"))
        if not data.get("train_path") and sample in SAMPLE_LEVELS:
            return SAMPLE_LEVELS[sample], f"README of the sample {sample} of equinet"
        return None

    def frames_per_species(self) -> dict[str, int]:
        """Training frames that have each element; empty where it was not recorded."""
        from equinet.elements import SYMBOLS

        species, frames = self.statistic("species") or (), self.statistic("frames_per_species") or ()
        return {SYMBOLS[z]: int(n) for z, n in zip(species, frames, strict=False)}

    def tested(self) -> Iterator[tuple[Path, MeasuredErrors]]:
        """Errors of each data set and group of each test."""
        for path, content in self.tests:
            sets = table(content.get("data_sets")) or {Path(str(table(content["data"])["path"])).name: content}
            for name, values in sets.items():
                yield path, MeasuredErrors(name, "", values)
                for group, own in table(values.get("groups")).items():
                    yield path, MeasuredErrors(name, group, own)


def levels_of(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Statistics of the training data: of each level of theory, where there are several."""
    statistics = table(provenance.get("statistics"))
    return [table(level) for level in statistics.get("of_modals") or ()] or ([statistics] if statistics else [])


def collect_sources(path: Path, tests: Sequence[Path] = ()) -> CardSources:
    """Read a model file, the run it lies in, and tests of it.

    Args:
        path: a model file.
        tests: files of errors, or folders of reports; none: those in the model's folder and one below.

    Raises:
        InputError: the file is no model; a named test is none, or of another model file.
    """
    potential = load_model(path)
    facts = describe(potential, path)
    if tests:
        found = [_named_test(test, facts) for test in tests]
    else:
        there = sorted([*path.parent.glob(ERRORS), *path.parent.glob(f"*/{ERRORS}")])
        read = [(file, _read(file)) for file in there]
        found = [(file, content) for file, content in read if content.get("model_sha256") == facts.sha256]
    header = read_header(path)
    training = _read(RunDirectory(path.parent).training)
    own = table(training.get("best")) == table(table(header.get("provenance")).get("training"))
    return CardSources(path, header, facts, potential, training if own else {}, found)


def _named_test(test: Path, facts: ModelFacts) -> tuple[Path, Mapping[str, Any]]:
    file = test / ERRORS if test.is_dir() else test
    content = _read(file)
    if "model_sha256" not in content:
        raise InputError(f"{file} is no file of errors of equinet test; make one with --report or --json")
    if content["model_sha256"] != facts.sha256:
        raise InputError(f"{file} is a test of another model file ({content.get('model')}); test this one")
    return file, content


def _read(file: Path) -> Mapping[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        return table(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
