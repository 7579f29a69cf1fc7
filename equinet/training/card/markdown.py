"""The text of a model card, in Markdown with the front matter that model hubs read."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from equinet.citations import foreign_citation, model_citations
from equinet.lineage import licence, table
from equinet.training.card.ancestry import ancestor_rows, licence_text, origin, references_text
from equinet.training.card.limits import known_limits
from equinet.training.card.sources import NOT_RECORDED, CardSources, MeasuredErrors, collect_sources
from equinet.training.report.tables import MEASURES, QUANTITIES, markdown

HUB_LICENCES = {"MIT": "mit", "Apache-2.0": "apache-2.0", "BSD-3-Clause": "bsd-3-clause", "CC-BY-4.0": "cc-by-4.0"}
"""Identifiers of a model hub, by how a licence begins in a model's provenance."""


def model_card(path: Path, tests: Sequence[Path] = ()) -> str:
    """A model card: what the model is, its data, errors, training, limits, licence and citation.

    Only what is recorded is told: in the model file, in ``training.json`` of the run it lies in, and in the errors of
    tests of this very file (by its SHA-256). What is not recorded is said to be so.

    Args:
        path: a model file.
        tests: files of errors, or folders of reports; none: those in the model's folder and one below.

    Raises:
        InputError: the file is no model; a named test is none, or of another model file.
    """
    sources = collect_sources(path, tests)
    parts = [
        _front_matter(sources),
        f"# {_title(path)}\n",
        _what(sources),
        _section("Data", _data(sources)),
        _section("Errors", _errors(sources)),
        _section("Training", _training(sources)),
        _section("Known failures and limits", "".join(f"- {markdown(one)}\n" for one in known_limits(sources))),
        _section("Licence", f"{markdown(licence_text(sources))}.\n"),
        _section("Citation", _citation(sources)),
    ]
    return "\n".join(parts)


def _title(path: Path) -> str:
    """The folder's name where the file's says nothing."""
    resolved = path.resolve()
    return markdown(resolved.parent.name if resolved.stem == "model" else resolved.stem)


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _front_matter(sources: CardSources) -> str:
    stated = licence(sources.provenance) or ""
    known = [hub for start, hub in HUB_LICENCES.items() if stated.startswith(start)]
    values = {
        "license": (known or ["other" if stated else "unknown"])[0],
        "library_name": "equinet",
        "tags": ["interatomic-potential", "nequip", "equivariant", "chemistry", "materials-science"],
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n"


def _what(sources: CardSources) -> str:
    facts, header = sources.facts, sources.header
    elements = ", ".join(facts.species)
    units = ", ".join(f"{name} in {unit}" for name, unit in table(header.get("units")).items())
    rows = {
        **ancestor_rows(sources),
        "Architecture": facts.architecture,
        "Numbers it holds": f"{facts.parameters:,}",
        "Cutoff": f"{facts.cutoff:g} Å",
        "Layers, reach": f"{facts.layers}, {facts.reach:g} Å",
        "Elements": f"{len(facts.species)}: {elements}",
        "Levels of theory": ", ".join(sources.potential.modals) or facts.modal or "one, without a name",
        "Gives": "energy, forces, virial; stress where periodic in three directions (positive under tension)",
        "Units": units or NOT_RECORDED,
        "Precision": f"{facts.dtype} (geometry and sums of energies in float64)",
        "Written by": f"equinet {header.get('equinet_version', NOT_RECORDED)}",
        "SHA-256": facts.sha256,
    }
    named = elements if len(facts.species) <= 8 else f"{len(facts.species)} elements"
    return f"An interatomic potential for {named}{markdown(origin(sources))}.\n\n{_two_columns(rows)}"


def _data(sources: CardSources) -> str:
    stated = sources.level_of_theory()
    level = f"{markdown(stated[0])} ({markdown(stated[1])})" if stated else NOT_RECORDED
    of = " of the new data" if sources.parents and not sources.potential.modals else ""
    lines = [f"Level of theory{of}: {level}.\n"]
    files = [(name, table(file)) for name, file in table(sources.provenance.get("data")).items()]
    if sources.replay:
        by = ", labels of the parent" if sources.replay.get("label") == "parent" else ""
        files.append((f"replay{by}", sources.replay))
    if files:
        head = ("Part", "File", "Frames", "With energy", "With forces", "With virial", "SHA-256")
        keys = ("frames", "frames_with_energy", "frames_with_forces", "frames_with_virial", "sha256")
        rows = [
            (name, Path(str(file.get("file", NOT_RECORDED))).name, *(str(file.get(key, NOT_RECORDED)) for key in keys))
            for name, file in files
        ]
        lines.append(_table(head, rows, numbers=range(2, 6)))
    else:
        came = sources.provenance.get("file")
        lines.append(f"Training data: {NOT_RECORDED}" + (f" in {markdown(str(came))}.\n" if came else ".\n"))
    trained = sources.statistic("frames")
    if trained is not None:
        how = "Trained" if not sources.parents else "Fine-tuned"
        lines.append(f"{how} on {trained} frames with {sources.statistic('atoms')} atoms{_with_replay(sources)}.\n")
    lines.append(_elements(sources))
    return "\n".join(lines)


def _with_replay(sources: CardSources) -> str:
    frames = sources.replay.get("frames")
    return "" if frames is None else f", and on {frames} replayed frames in turn"


def _elements(sources: CardSources) -> str:
    """Training frames and reference energies of each element, where there is something to tell."""
    frames = sources.frames_per_species()
    if not sources.levels:
        return ""
    tuned = bool(sources.parents)
    absent = "0, known from the parent" if tuned and frames else NOT_RECORDED
    energies = sources.potential.isolated_energies
    rows = []
    for number, symbol in enumerate(sources.facts.species):
        values = energies[..., number].reshape(-1).tolist()
        met = str(frames.get(symbol, absent))
        rows.append((symbol, met, *(f"{value:.6f}" for value in values)))
    names = [f"Reference energy, eV{f', {modal}' if modal else ''}" for modal in sources.potential.modals or [""]]
    head = ("Element", "New training frames" if tuned else "Training frames", *names)
    references = f"Reference energies from {markdown(references_text(sources))}.\n"
    return f"{_table(head, rows, numbers=range(1, len(head)))}\n{references}"


def _errors(sources: CardSources) -> str:
    lines = []
    tested = [one for _, one in sources.tested()]
    counted = [name for name in map(str.lower, QUANTITIES) if _needs_count(tested, name)]
    rows = []
    for one in tested:
        cells = [_error(one.values, key, measure) for key, _ in QUANTITIES.values() for measure in MEASURES]
        counts = [str(one.values.get(key, NOT_RECORDED)) for key in ("frames", *(f"frames_with_{n}" for n in counted))]
        rows.append((one.data_set, one.group, *counts, *cells))
    if rows:
        units = [f"{name} {m.upper()}, {unit}" for name, (_, unit) in QUANTITIES.items() for m in MEASURES]
        files = ", ".join(
            str(path.name if path.parent == sources.path.parent else "/".join(path.parts[-2:]))
            for path, _ in sources.tests
        )
        lines.append(f"Of this very file, with 95 % intervals (bootstrap over frames), from {markdown(files)}:\n")
        head = ("Data set", "Group", "Frames", *(f"With {name}" for name in counted), *units)
        lines.append(_table(head, rows, numbers=range(2, len(head))))
        trained_on = sources.training_checksums()
        for _, content in sources.tests:
            sets = table(content.get("data_sets")) or {"": content}
            for one in sets.values():
                data = table(table(one).get("data"))
                name = markdown(Path(str(data.get("path", NOT_RECORDED))).name)
                digest = str(data.get("sha256") or NOT_RECORDED)
                known = ", the file that it was trained on: no test" if digest in trained_on else ""
                lines.append(f"SHA-256 of {name}: {markdown(digest)}{known}.\n")
    else:
        lines.append(
            f"On test data: {NOT_RECORDED}. `equinet test MODEL DATA --report DIR`, with DIR beside the model file, "
            "records them.\n"
        )
    best = table(sources.provenance.get("training"))
    found = {
        f"{name} {m.upper()}": f"{_digits(best[f'val/{key.format(m)}'])} {unit}"
        for name, (key, unit) in QUANTITIES.items()
        for m in MEASURES
        if isinstance(best.get(f"val/{key.format(m)}"), int | float)
    }
    if found:
        lines.append("On the validation set of the training, by which these weights were chosen among all epochs:\n")
        lines.append(_two_columns(found))
    return "\n".join(lines)


def _needs_count(tested: Sequence[MeasuredErrors], name: str) -> bool:
    """Whether some, but not all frames that are tested on have such a label."""
    counts = [(one.values.get(f"frames_with_{name}"), one.values.get("frames")) for one in tested]
    return any(labelled for labelled, _ in counts) and any(labelled != frames for labelled, frames in counts)


def _error(values: Mapping[str, Any], key: str, measure: str) -> str:
    value, interval = values.get(key.format(measure)), values.get(f"{key.format(measure)}_ci95")
    if not isinstance(value, int | float):
        return "no labels"
    if isinstance(interval, Sequence) and len(interval) == 2:
        return f"{_digits(value)} ({_digits(interval[0])} to {_digits(interval[1])})"
    return _digits(value)


def _digits(value: float) -> str:
    """Four significant digits; no exponent where the number is large."""
    return f"{value:.4g}" if abs(value) < 9999.5 else f"{value:.0f}"


def _training(sources: CardSources) -> str:
    config, training = sources.config, sources.training
    model, data = table(config.get("model")), table(config.get("data"))
    optimizer, loss = table(model.get("optimizer")), table(model.get("loss"))
    versions = table(sources.provenance.get("versions"))
    best = table(sources.provenance.get("training"))

    def of(values: Mapping[str, Any], *keys: str) -> str:
        return ", ".join(f"{key} {values[key]}" for key in keys if values.get(key) is not None) or NOT_RECORDED

    rows = {
        "Epochs, steps": of(training, "epochs", "steps"),
        "Wall time": f"{training['seconds']:.0f} s" if "seconds" in training else NOT_RECORDED,
        "These weights": f"after epoch {best['epoch'] + 1}, step {best.get('step')}"
        if "epoch" in best
        else NOT_RECORDED,
        "Seeds": of(
            {"weights and batches": config.get("seed"), "split": data.get("split_seed")}, "weights and batches", "split"
        ),
        "Batch size": str(data.get("batch_size", NOT_RECORDED)),
        "Optimiser": of(optimizer, "name", "lr", "weight_decay"),
        "Loss weights": of(loss, "energy", "forces", "stress", "units"),
        "Decay of the average": str(model.get("ema_decay", NOT_RECORDED)),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or NOT_RECORDED,
    }
    if all(text == NOT_RECORDED for text in rows.values()):
        return f"{NOT_RECORDED.capitalize()}.\n"
    text = _two_columns(rows)
    if config:
        dumped = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        text += f"\nConfiguration:\n\n{_fenced('yaml', dumped)}"
    return text


def _citation(sources: CardSources) -> str:
    known = model_citations(sources.header)
    foreign = foreign_citation(sources.header, known)
    entries = "\n\n".join(entry.bibtex() for entry in known)
    return _fenced("bibtex", entries + "\n") + (f"\nAnd: {markdown(foreign)}\n" if foreign else "")


def _fenced(language: str, text: str) -> str:
    """A code block that its content cannot end."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}{fence}\n"


def _two_columns(rows: Mapping[str, str]) -> str:
    return _table(("", ""), rows.items(), numbers=())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int]) -> str:
    """A table; columns of numbers are aligned to the right."""
    right = set(numbers)
    rule = ["--:" if column in right else ":--" for column in range(len(head))]
    lines = [head, rule, *([markdown(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
