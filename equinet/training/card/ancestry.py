"""What a model card tells of the models that a fine-tuned one descends from: names, data, licence, references."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equinet.lineage import generations, licence, table
from equinet.training.card.sources import NOT_RECORDED, CardSources


def origin(sources: CardSources) -> str:
    """How the model came to be, to follow its name: fine-tuned, imported; empty where it was trained from scratch."""
    steps = []
    for one in generations(sources.provenance):
        if table(one.get("parent")):
            steps.append(f"fine-tuned from {_name(table(one['parent']))}")
        elif one.get("imported_from"):
            steps.append(f"imported from {one['imported_from']}")
    return f", {', which was '.join(steps)}" if steps else ""


def ancestor_rows(sources: CardSources) -> dict[str, str]:
    """File, SHA-256 and data of each ancestor, nearest first."""
    label, rows = "Fine-tuned from", {}
    for parent in sources.parents:
        rows[label] = f"{_name(parent)}, SHA-256 {parent.get('sha256', NOT_RECORDED)}; {_trained_on(parent)}"
        label = f"{_name(parent)} fine-tuned from"
    return rows


def licence_text(sources: CardSources) -> str:
    """The licence, and whose it is where the model does not state it itself."""
    stated = licence(sources.provenance)
    if stated is None:
        return "Not stated"
    whose = next(
        (_name(parent) for parent in sources.parents if table(parent.get("provenance")).get("licence") == stated), ""
    )
    own = sources.provenance.get("licence") or not whose
    return stated if own else f"{stated}: the licence of {whose}, which it was fine-tuned from"


def references_text(sources: CardSources) -> str:
    """Where the reference energies come from."""
    if not sources.parents:
        return "; ".join(str(level.get("isolated_energies_source", NOT_RECORDED)) for level in sources.levels)
    shifts = sources.parents[0].get("reference_shifts")
    if isinstance(shifts, list) and shifts:
        return f"the parent; {'; '.join(str(line).strip() for line in shifts)}"
    return "the parent" + (", shifted to fit the new data" if sources.refits_references else "")


def _name(parent: Mapping[str, Any]) -> str:
    """The file's name; the folder's too where that says nothing."""
    path = Path(str(parent.get("file", NOT_RECORDED)))
    return "/".join(path.parts[-2:]) if path.stem == "model" else path.name


def _trained_on(parent: Mapping[str, Any]) -> str:
    provenance = table(parent.get("provenance"))
    frames = table(provenance.get("statistics")).get("frames")
    file = table(table(provenance.get("data")).get("train"))
    if frames is None or not file:
        return f"its training data: {NOT_RECORDED}"
    digest = file.get("sha256", NOT_RECORDED)
    return f"trained on {frames} frames of {Path(str(file.get('file'))).name}, SHA-256 {digest}"
