"""What a model's provenance says of those it descends from: a fine-tuned model's holds its parent's, that its parent's.

Pure data; a stranger's file may hold anything.
"""

from collections.abc import Mapping
from typing import Any


def table(value: Any) -> Mapping[str, Any]:
    """The value, where it is a table; an empty one elsewhere."""
    return value if isinstance(value, Mapping) else {}


def parents(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The models that a fine-tuned one started from, nearest first: file, SHA-256 and provenance of each."""
    found: list[Mapping[str, Any]] = []
    parent = table(provenance.get("parent"))
    while parent:
        found.append(parent)
        parent = table(table(parent.get("provenance")).get("parent"))
    return found


def generations(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The provenance itself, its parent's, and so on to the model that was trained from scratch, or imported."""
    return [provenance, *(table(parent.get("provenance")) for parent in parents(provenance))]


def licence(provenance: Mapping[str, Any]) -> str | None:
    """The licence, with its holder: a fine-tuned model's is its parent's, unless another is stated; None if none is."""
    stated = (generation.get("licence") for generation in generations(provenance))
    return next((str(one) for one in stated if one), None)
