"""The race as a page and a figure."""

from pathlib import Path
from typing import Any

PANELS = {
    "energy_mae_mev_per_atom": "energy MAE, meV/atom",
    "force_mae_mev_per_angstrom": "force MAE, meV/Å",
    "stress_mae_gpa": "stress MAE, GPa",
}
COLORS = ("#1f5fa8", "#d9772b")


def seconds_to(curve: list[dict[str, float]], key: str, goal: float) -> float | None:
    """When the error first is, and stays, at the goal or below it."""
    reached = None
    for point in curve:
        if point[key] > goal:
            reached = None
        elif reached is None:
            reached = point["seconds"]
    return reached


def page(results: dict[str, Any], machine: dict[str, Any]) -> str:
    """Markdown: errors at the end, when each side was as good as the slower one ended, what was tried."""
    lines = [
        "# Time to accuracy on mlearn silicon",
        "",
        f"The same network (3 layers, l_max 2, 16 channels, natural parity, 4.5 Å), training and validation frames; "
        f"{machine['minutes']:g} minutes each on {machine['threads']} threads of {machine['processor']}, one seed. "
        "Errors are of the snapshot that is best on validation.",
        "",
        "| | Setting | Mode | Weights | Steps | s a step | Test: energy, meV/atom | Forces, meV/Å | Stress, GPa |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for side, found in results.items():
        clock, test, plan = found["race"]["clock"], found["race"]["test"], found["race"]["plan"]
        cells = [side, plan["setting"]["name"], plan["mode"], str(clock["weights"]), str(clock["steps"])]
        cells += [f"{clock['median_step_s']:.3f}", *(f"{test[key]:.3g}" for key in PANELS)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "When the validation error fell for good to what the other side ended with:", ""]
    lines += ["| | " + " | ".join(PANELS.values()) + " |", "|" + "---|" * (len(PANELS) + 1)]
    sides = list(results)
    for side, other in zip(sides, reversed(sides), strict=True):
        cells = []
        for key in PANELS:
            goal = results[other]["race"]["curve"][-1][key]
            reached = seconds_to(results[side]["race"]["curve"], key, goal)
            cells.append(f"{goal:.3g}: " + ("not reached" if reached is None else f"{reached / 60:.1f} min"))
        lines.append(f"| {side} | {' | '.join(cells)} |")
    lines += ["", "Trials, the score being the mean of the three errors over the labels' mean deviations:", ""]
    lines += ["| Setting | " + " | ".join(f"{side}: score (steps)" for side in sides) + " |"]
    lines += ["|---|" + "---|" * len(sides)]
    for number, trial in enumerate(results[sides[0]]["trials"]["trials"]):
        scores = (results[side]["trials"]["trials"][number] for side in sides)
        cells = " | ".join(f"{each['score']:.3f} ({each['steps']})" for each in scores)
        lines.append(f"| {trial['setting']} | {cells} |")
    lines += ["", *_modes(results[sides[1]]["mode"], sides[1]), "", "![Errors over the time](figures/race.png)"]
    return "\n".join(lines) + "\n"


def _modes(mode: dict[str, Any], side: str) -> list[str]:
    lines = []
    for name, found in mode["modes"].items():
        if "failed" in found:
            lines.append(f"{side}, {name}: {found['failed'].splitlines()[-1]}.")
        elif found:
            lines.append(
                f"{side}, {name}: first step {found['first_step_s']:.1f} s, then {found['median_step_s']:.3f} s a step."
            )
    return lines


def draw(results: dict[str, Any], machine: dict[str, Any], path: Path) -> None:
    """Validation errors over the minutes of training, a panel for each quantity."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(11, 3.5), layout="constrained")
    panels = figure.subplots(1, len(PANELS))
    for axes, (key, label) in zip(panels, PANELS.items(), strict=True):
        for color, (side, found) in zip(COLORS, results.items(), strict=True):
            curve, clock = found["race"]["curve"], found["race"]["clock"]
            minutes = [point["seconds"] / 60 for point in curve]
            axes.plot(minutes, [point[key] for point in curve], "o-", color=color, markersize=3, linewidth=1.4)
            axes.lines[-1].set_label(f"{side}, {clock['steps']} steps")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(left=0)
        axes.set_xlabel("minutes of training")
        axes.set_ylabel(f"validation {label}")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=9)
    figure.suptitle(f"mlearn Si, the same network and frames, {machine['threads']} threads", fontsize=10)
    figure.savefig(path, dpi=150)
