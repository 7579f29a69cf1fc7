"""Known failures and limits of a model, each a consequence of something recorded; nothing that holds for all models."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from equinet.elements import SYMBOLS
from equinet.lineage import generations, table
from equinet.training.card.sources import CardSources, levels_of
from equinet.training.report.page import digits

FEW_FRAMES = 20
"""An element that fewer training frames have is named."""
MUCH_WORSE = 2.0
"""A group is named when its force RMSE is so many times that of its data set."""


def known_limits(sources: CardSources) -> list[str]:
    """One sentence each, Markdown-free; empty where nothing is recorded that limits the model."""
    return [*_of_the_form(sources), *_of_the_data(sources), *_of_the_training(sources), *_of_the_tests(sources)]


def _of_the_form(sources: CardSources) -> Iterator[str]:
    potential, facts = sources.potential, sources.facts
    if not potential.architecture.mirror_symmetric:
        yield "Its features have no parity, so mirror images differ in energy: take care with chiral matter."
    nequip = table(table(sources.header.get("hyper_parameters")).get("nequip"))
    hyper_parameters = nequip or table(sources.header.get("hyper_parameters"))
    if hyper_parameters.get("envelope") == "xplor":
        yield (
            f"Its envelope's second derivative jumps at {hyper_parameters.get('xplor_onset')} Å and at the cutoff, so "
            "phonons and elastic constants have small jumps where neighbours cross these distances."
        )
    if not potential.subtract_isolated:
        yield "An isolated atom's energy is what the network says, not a reference energy."
    layers = f"{facts.layers} layer{'s' * (facts.layers != 1)} of {facts.cutoff:g} Å"
    yield (
        f"Atoms farther apart than {facts.reach:g} Å ({layers}) do not know of each other: there are no "
        "electrostatics and no dispersion beyond that."
    )
    shortest = sources.statistic_of_generations("shortest_distance")
    recorded = [one for one in shortest if _number(one)]
    if len(recorded) == len(shortest):
        with_parent = ", the parent's included" if sources.parents else ""
        near = f"below {min(recorded):.2f} Å, the shortest distance in the training data{with_parent}, "
    elif recorded:
        known = f"{min(recorded):.2f} Å where they are recorded, which the parent's are not"
        near = f"at distances shorter than any trained on ({known}), "
    else:
        near = "at distances shorter than any trained on, which are not recorded, "
    near += "forces are extrapolated"
    if potential.zbl is None:
        yield f"Nothing but the data keeps atoms apart (no ZBL repulsion): {near}."
    else:
        yield f"ZBL repulsion keeps atoms apart, but {near}."


def _of_the_data(sources: CardSources) -> Iterator[str]:
    tuned = bool(sources.parents)
    new = "new " if tuned else ""
    met = sources.frames_per_species()
    few = {symbol: n for symbol, n in met.items() if n < FEW_FRAMES}
    if few:
        yield f"Few {new}training frames have " + ", ".join(f"{symbol} ({n})" for symbol, n in few.items()) + "."
    if tuned and not sources.replay:
        known = len(sources.facts.species)
        others = f" ({known - len(met)} of {known} elements are not in them)" if met and len(met) < known else ""
        yield (
            f"It was fine-tuned without replaying the parent's data: of matter unlike the new data{others} it may have "
            "forgotten what the parent knew. Use the parent there, or test first."
        )
    for level in sources.levels:
        of = _name(level)
        for label in ("energy", "forces", "stress"):
            count = level.get(f"frames_with_{label}")
            if count == 0:
                fitted = "is the parent's" if tuned else "was never fitted"
                yield f"No {new}training frame{of} has {_LABELS[label]}: what it says of them {fitted}."
            elif _number(count) and _number(level.get("frames")) and count < level["frames"]:
                yield f"Only {count} of {level['frames']} {new}training frames{of} have {_LABELS[label]}."
    yield from _of_the_references(sources)
    lonely = sources.statistic("frames_without_edges")
    if lonely:
        yield f"{lonely} training frames have no two atoms within the cutoff."


def _of_the_references(sources: CardSources) -> Iterator[str]:
    """Of reference energies; those of a fine-tuned model are its first ancestor's, shifted to fit the new data."""
    if sources.refits_references:
        for level in sources.levels:
            if undetermined := _undetermined(level):
                yield (
                    f"The new data{_name(level)} do not tell the reference energies of {', '.join(undetermined)} "
                    "apart: they were shifted to fit in the proportions of these data, and are arbitrary in others."
                )
    for level in levels_of(generations(sources.provenance)[-1]):
        if undetermined := _undetermined(level):
            yield (
                f"The training data{_name(level)} do not determine the isolated atoms' energies of "
                f"{', '.join(undetermined)}: energies of other compositions are arbitrary by a constant for each atom."
            )
        elif any(not known for known in level.get("from_isolated") or ()):
            yield (
                f"Reference energies{_name(level)} were regressed, not computed for isolated atoms: energies of "
                "dissociation and cohesion have no meaning."
            )


def _name(level: Mapping[str, Any]) -> str:
    return f" of {level['modal']}" if level.get("modal") else ""


def _undetermined(level: Mapping[str, Any]) -> list[str]:
    return [SYMBOLS[z] for z in level.get("undetermined") or () if 0 < z < len(SYMBOLS)]


_LABELS = {"energy": "an energy label", "forces": "force labels", "stress": "a stress label"}


def _of_the_training(sources: CardSources) -> Iterator[str]:
    best, epochs = table(sources.provenance.get("training")).get("epoch"), sources.training.get("epochs")
    if _number(best) and _number(epochs) and epochs > 1 and best + 1 == epochs:
        yield f"The validation loss was lowest at the last of {epochs} epochs: longer training may have gone lower."
    if str(sources.provenance.get("stress_check") or "").startswith("stress against energy: ") and not str(
        sources.provenance["stress_check"]
    ).startswith("stress against energy: right"):
        yield f"Of the stress labels: {sources.provenance['stress_check']}."


def _of_the_tests(sources: CardSources) -> Iterator[str]:
    whole: dict[tuple[Any, str], float] = {}
    for path, one in sources.tested():
        error = one.values.get("force_rmse_mev_per_angstrom")
        if not _number(error):
            continue
        if not one.group:
            whole[path, one.data_set] = error
            continue
        ratio = error / whole.get((path, one.data_set), float("inf"))
        if ratio > MUCH_WORSE:
            yield (
                f"Forces of {one.group} in {one.data_set} are {ratio:.1f} times as wrong as those of the whole set "
                f"(RMSE {digits(error)} meV/Å)."
            )


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
