"""What a phonon calculation leaves in its folder: JSON, the figure, and phonopy's own file."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equinet.files import replacing
from equinet.simulate.properties.phonons.result import IMAGINARY_THZ, Phonons
from equinet.simulate.properties.report import write_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INVERSE_CM_PER_THZ = 1e10 / 299_792_458
BLUE, RED, GREY = "#1f5fa8", "#b0405a", "#777777"
ELEMENT_COLORS = (BLUE, "#d9772b", "#2a8f6a", "#7d5fb0", "#8c6b3f", "#c95fa0")


def write_phonons(folder: Path, found: Phonons, settings: Mapping[str, Any], title: str) -> list[Path]:
    """Write ``phonons.json``, ``phonons.png`` and ``phonopy_params.yaml``; the paths.

    ``phonopy.load("phonopy_params.yaml")`` goes on from there: Born charges, group velocities, thermal displacements.

    Args:
        folder: that is there.
        found: the phonons.
        settings: that give them again.
        title: of the figure.

    Raises:
        InputError: a file cannot be written.
    """
    numbers = {each.name: getattr(found, each.name) for each in dataclasses.fields(found) if each.name != "phonopy"}
    paths = write_report(folder, "phonons", numbers, settings, {"phonons": lambda: phonons_figure(found, title)})
    paths.append(folder / "phonopy_params.yaml")
    with replacing(paths[-1]) as partial:
        found.phonopy.save(partial, settings={"force_sets": True, "force_constants": True})
    return paths


def phonons_figure(found: Phonons, title: str = "") -> "Figure":
    """Bands beside the density of states, over one frequency; imaginary modes are red, below zero."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    bands, density = figure.subplots(1, 2, sharey=True, width_ratios=(3.2, 1))
    _draw_bands(bands, found)
    _draw_density(density, found)
    lowest, highest = (float(f(found.bands.frequencies_thz)) for f in (np.min, np.max))
    room = 0.05 * (highest - lowest)
    bands.set_ylim(min(0.0, lowest - room if lowest < IMAGINARY_THZ else 0.0), highest + room)
    for axes in (bands, density):
        axes.spines[["top", "right"]].set_visible(False)
        axes.axhline(0.0, color="black", linewidth=0.6)
    inverse_cm = density.secondary_yaxis(
        "right", functions=(lambda thz: thz * INVERSE_CM_PER_THZ, lambda cm: cm / INVERSE_CM_PER_THZ)
    )
    inverse_cm.set_ylabel("cm$^{-1}$")
    return figure


def _draw_bands(axes: "Axes", found: Phonons) -> None:
    path = found.bands
    jumps = np.flatnonzero(np.diff(path.distance_per_angstrom) == 0) + 1
    for piece in np.split(np.arange(len(path.distance_per_angstrom)), jumps):
        distance, frequencies = path.distance_per_angstrom[piece], path.frequencies_thz[piece]
        axes.plot(distance, frequencies, color=BLUE, linewidth=1.1)
        axes.plot(distance, np.where(frequencies < IMAGINARY_THZ, frequencies, np.nan), color=RED, linewidth=1.4)
    for position in path.label_positions_per_angstrom:
        axes.axvline(position, color=GREY, linewidth=0.5)
    axes.set_xticks(path.label_positions_per_angstrom, path.labels)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(path.distance_per_angstrom[0], path.distance_per_angstrom[-1])
    axes.set_ylabel("frequency, THz" + (" (imaginary below zero)" if found.imaginary else ""))
    if found.imaginary:
        lowest = found.imaginary[0]
        axes.annotate(
            f"imaginary: {lowest.frequency_thz:.2f} THz at {lowest.where}",
            (1.0, 1.01),
            xycoords="axes fraction",
            ha="right",
            va="bottom",
            color=RED,
            fontsize=8,
        )


def _draw_density(axes: "Axes", found: Phonons) -> None:
    density = found.density
    several = len(density.by_element_per_thz) > 1
    axes.fill_betweenx(density.frequency_thz, 0, density.total_per_thz, color="#dddddd", linewidth=0)
    axes.plot(density.total_per_thz, density.frequency_thz, color=GREY, linewidth=0.9, label="total")
    if several:
        for n, (element, values) in enumerate(density.by_element_per_thz.items()):
            color = ELEMENT_COLORS[n % len(ELEMENT_COLORS)]
            axes.plot(values, density.frequency_thz, color=color, linewidth=1.0, label=element)
        axes.legend(frameon=False, fontsize=8, loc="upper right", handlelength=1.2)
    axes.set_xlim(0, 1.05 * float(density.total_per_thz.max()))
    axes.set_xlabel("states, THz$^{-1}$")
    axes.tick_params(axis="y", labelleft=False)
