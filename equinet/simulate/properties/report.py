"""What every property leaves in its folder: numbers as JSON, a figure, and where they come from."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equinet import __version__
from equinet.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # imported late: it takes half a second


def write_report(
    folder: Path, name: str, results: Any, settings: Mapping[str, Any], figures: "Mapping[str, Callable[[], Figure]]"
) -> list[Path]:
    """Write ``name.json`` and the figures, as PNG; the paths.

    Args:
        folder: where; see :func:`equinet.files.make_folder`.
        name: of the property.
        results: a dataclass or mapping of numbers, arrays and text; keys end in units.
        settings: model, structure and parameters that give these numbers again.
        figures: what draws each, by its name without suffix.

    Raises:
        InputError: a file cannot be written.
    """
    content = {"property": name, "equinet": __version__, "settings": settings, "results": results}
    paths = [folder / f"{name}.json"]
    with replacing(paths[0]) as partial:
        partial.write_text(json.dumps(plain(content), indent=1) + "\n", encoding="utf-8")
    for figure, draw in figures.items():
        paths.append(folder / f"{figure}.png")
        with replacing(paths[-1]) as partial:
            draw().savefig(partial, dpi=150, format="png")
    return paths


def plain(value: Any) -> Any:
    """As JSON has it: no arrays, and null for what is not a number."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
