"""The figure of an elastic tensor."""

from typing import TYPE_CHECKING, Any

import numpy as np

from equinet.simulate.panels import BLUE, COLORS, GREEN, GREY, ORANGE, plain_axes
from equinet.simulate.properties.elastic import VOIGT, ElasticResult, ElasticTensor
from equinet.simulate.properties.moduli import young_modulus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_elastic(result: ElasticResult, title: str = "") -> "Figure":
    """The tensor as a map with numbers, Young's modulus in three planes, and stresses over strains."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.2, 4.3), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(1, 3, width_ratios=(1.05, 1, 1.1))
    tensor = result.best
    _map(figure.add_subplot(grid[0]), tensor, "relaxed ions" if result.relaxed_ion else "clamped ions")
    _young(figure.add_subplot(grid[1], projection="polar"), tensor)
    _lines(figure.add_subplot(grid[2]), tensor)
    figure.suptitle(title, fontsize=11)
    return figure


def _map(axes: "Axes", tensor: ElasticTensor, kind: str) -> None:
    stiffness = tensor.stiffness_gpa
    largest = float(abs(stiffness).max())
    axes.imshow(stiffness, cmap="RdBu_r", vmin=-1.15 * largest, vmax=1.15 * largest)
    for row in range(6):
        for column in range(6):
            value = stiffness[row, column]
            text = f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"
            color = GREY if abs(value) < 0.005 * largest else "white" if abs(value) > 0.75 * largest else "black"
            axes.text(column, row, text.replace("-0.0", "0.0"), ha="center", va="center", fontsize=8.5, color=color)
    axes.set_xticks(range(6), VOIGT)
    axes.set_yticks(range(6), VOIGT)
    axes.tick_params(length=0, labelsize=9)
    axes.set_title(f"stiffness, GPa ({kind})", fontsize=10)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _young(axes: "Axes", tensor: ElasticTensor) -> None:
    angles = np.radians(np.arange(361.0))
    one, other, zero = np.cos(angles), np.sin(angles), np.zeros_like(angles)
    planes = {"xy": (one, other, zero), "xz": (one, zero, other), "yz": (zero, one, other)}
    compliance = np.linalg.inv(tensor.stiffness_gpa)
    styles = {"xy": ("-", BLUE, 1.8), "xz": ("--", ORANGE, 1.8), "yz": (":", GREEN, 2.2)}
    for plane, vectors in planes.items():
        line, color, width = styles[plane]
        young = young_modulus(compliance, np.stack(vectors, axis=-1))
        axes.plot(angles, young, line, color=color, linewidth=width, label=f"{plane[0]} to {plane[1]}")
    axes.set_title("Young's modulus, GPa", fontsize=10)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.35, linewidth=0.5)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(-0.16, -0.12))


def _lines(axes: "Axes", tensor: ElasticTensor) -> None:
    percent = 100 * tensor.strains
    for component, color in enumerate(COLORS[:6]):
        modulus = tensor.stiffness_gpa[component, component]
        axes.plot(percent, modulus * tensor.strains, color=color, linewidth=1, alpha=0.8)
        stresses = tensor.stresses_gpa[component, :, component]
        # one inside the other where crystals have them equal
        marker: dict[str, Any] = {
            "marker": "os"[component // 3],
            "markersize": (10, 6.5, 3)[component % 3],
            "fillstyle": "none",
        }
        axes.plot(percent, stresses, linestyle="none", color=color, label=VOIGT[component], **marker)
    plain_axes(axes)
    axes.set_xlabel("strain, %", fontsize=9)
    axes.set_ylabel("stress of the same component, GPa", fontsize=9)
    axes.set_title(f"lines: the tensor; moduli change by {100 * tensor.nonlinearity:.2g} %", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncols=2)
