"""The race as a page and a figure."""

from pathlib import Path
from typing import Any

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


def page(name: str, found: dict[str, Any]) -> str:
    """Markdown: errors at the end, when each side was as good as the other ended, what was tried.

    Args:
        name: of the row.
        found: what the race wrote of it.
    """
    sides, reported = found["sides"], found["reported"]
    lines = [
        f"# Time to accuracy: {name}",
        "",
        f"{found['title']}. The same network ({found['network']}), training and validation frames; {_time(found)}, one "
        "seed. Errors are of the snapshot that is best on validation.",
        "",
    ]
    head = ["", "Setting", "Mode", "Weights", "Steps", "s a step", "Test", *reported.values()]
    lines += [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for side, each in sides.items():
        clock, plan = each["race"]["clock"], each["race"]["plan"]
        for test, errors in each["race"]["test"].items():
            cells = [side, plan["setting"]["name"], plan["mode"], str(clock["weights"]), str(clock["steps"])]
            cells += [f"{clock['median_step_s']:.3f}", test, *(f"{errors[key]:.3g}" for key in reported)]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "When the validation error fell for good to what the other side ended with:", ""]
    lines += ["| | " + " | ".join(reported.values()) + " |", "|" + "---|" * (len(reported) + 1)]
    for side, other in zip(sides, reversed(list(sides)), strict=True):
        cells = [_when(sides[side], sides[other], key) for key in reported]
        lines.append(f"| {side} | {' | '.join(cells)} |")
    lines += ["", *_trials(sides)]
    modes = _modes(sides[list(sides)[1]]["mode"], list(sides)[1])
    lines += [*modes, ""] if modes else []
    return "\n".join([*lines, f"![Errors over the time]({name}.png)"]) + "\n"


def overview(raced: dict[str, dict[str, Any]]) -> str:
    """Markdown: one table of all rows, by their names."""
    lines = [
        "# Time to accuracy against nequip",
        "",
        "Test errors after equal minutes (benchmarks/training/race.py), near-twins of training frames left out but for "
        "mlearn-Si; and when our validation error of the forces fell for good to what nequip ended with. One seed.",
        "",
        "| Row | Minutes | Test | Measure | equinet: energy / forces / stress | nequip: energy / forces / stress | "
        "Our steps to its one | As good in forces after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in raced.items():
        ours, peer = found["sides"].values()
        energy, forces = list(found["reported"])[:2]
        unit = "meV/atom" if energy.endswith("per_atom") else "meV"
        steps = ours["race"]["clock"]["steps"] / peer["race"]["clock"]["steps"]
        for test in ours["race"]["test"]:
            errors = [
                " / ".join(f"{each['race']['test'][test][key]:.3g}" for key in found["reported"])
                for each in (ours, peer)
            ]
            cells = [f"[{name}]({name}.md)", f"{found['minutes']:g} {_kind(found)}", test]
            units = [unit, "meV/Å", "GPa"][: len(found["reported"])]
            cells += [f"{energy.split('_')[1].upper()}, {', '.join(units)}", *errors]
            cells += [f"{steps:.1f}", _when(ours, peer, forces).partition(": ")[2]]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _threads(found: dict[str, Any]) -> str:
    return f"{found['threads']} thread" + ("s" if found["threads"] > 1 else "")


def _kind(found: dict[str, Any]) -> str:
    return f"{_threads(found)}, {found['counted']}"


def _time(found: dict[str, Any]) -> str:
    kind = "minutes" if found["counted"] == "wall" else "processor minutes"
    return f"{found['minutes']:g} {kind} each on {_threads(found)} of {found['processor']}"


def _when(side: dict[str, Any], other: dict[str, Any], key: str) -> str:
    goal = other["race"]["curve"][-1][key]
    reached = seconds_to(side["race"]["curve"], key, goal)
    return f"{goal:.3g}: " + ("not reached" if reached is None else f"{reached / 60:.1f} min")


def _trials(sides: dict[str, Any]) -> list[str]:
    tried = [found["trials"]["trials"] for found in sides.values()]
    if not all(tried):
        return ["No other settings were tried.", ""]
    lines = ["Trials, the score being the mean of the errors over the labels' mean deviations:", ""]
    lines += ["| Setting | " + " | ".join(f"{side}: score (steps)" for side in sides) + " |"]
    lines += ["|---|" + "---|" * len(sides)]
    for both in zip(*tried, strict=True):
        cells = " | ".join(f"{each['score']:.3f} ({each['steps']})" for each in both)
        lines.append(f"| {both[0]['setting']} | {cells} |")
    return [*lines, ""]


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


def draw(found: dict[str, Any], path: Path) -> None:
    """Validation errors over the minutes of training, a panel for each quantity."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    reported = found["reported"]
    figure = Figure(figsize=(3.7 * len(reported), 3.5), layout="constrained")
    panels = figure.subplots(1, len(reported))
    for axes, (key, label) in zip(panels, reported.items(), strict=True):
        for color, (side, each) in zip(COLORS, found["sides"].items(), strict=True):
            curve, clock = each["race"]["curve"], each["race"]["clock"]
            minutes = [point["seconds"] / 60 for point in curve]
            axes.plot(minutes, [point[key] for point in curve], "o-", color=color, markersize=3, linewidth=1.4)
            axes.lines[-1].set_label(f"{side}, {clock['steps']} steps")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(left=0)
        axes.set_xlabel("minutes of training" if found["counted"] == "wall" else "processor minutes of training")
        axes.set_ylabel(f"validation {label}")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=9)
    figure.suptitle(f"{found['title']}: the same network and frames, {_kind(found)} time", fontsize=9)
    figure.savefig(path, dpi=150)
