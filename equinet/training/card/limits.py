"""Known failures and limits of a model, each a consequence of something recorded; nothing that holds for all models."""

from collections.abc import Iterator
from typing import Any, TypeGuard

from equinet.elements import SYMBOLS
from equinet.training.card.sources import CardSources, table

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
    yield (
        f"Atoms farther apart than {facts.reach:g} Å ({facts.layers} layers of {facts.cutoff:g} Å) do not know of each "
        "other: there are no electrostatics and no dispersion beyond that."
    )
    shortest = sources.statistic("shortest_distance")
    if _number(shortest):
        near = f"below {shortest:.2f} Å, the shortest distance in the training data, forces are extrapolated"
    else:
        near = "at distances shorter than any trained on, which are not recorded, forces are extrapolated"
    if potential.zbl is None:
        yield f"Nothing but the data keeps atoms apart (no ZBL repulsion): {near}."
    else:
        yield f"ZBL repulsion keeps atoms apart, but {near}."


def _of_the_data(sources: CardSources) -> Iterator[str]:
    few = {symbol: n for symbol, n in sources.frames_per_species().items() if n < FEW_FRAMES}
    if few:
        yield "Few training frames have " + ", ".join(f"{symbol} ({n})" for symbol, n in few.items()) + "."
    for level in sources.levels:
        of = f" of {level['modal']}" if level.get("modal") else ""
        for label in ("energy", "forces", "stress"):
            count = level.get(f"frames_with_{label}")
            if count == 0:
                yield f"No training frame{of} has {_LABELS[label]}: what it says of them was never fitted."
            elif _number(count) and _number(level.get("frames")) and count < level["frames"]:
                yield f"Only {count} of {level['frames']} training frames{of} have {_LABELS[label]}."
        undetermined = [SYMBOLS[z] for z in level.get("undetermined") or () if 0 < z < len(SYMBOLS)]
        if undetermined:
            yield (
                f"The training data{of} do not determine the isolated atoms' energies of {', '.join(undetermined)}: "
                "energies of other compositions are arbitrary by a constant for each atom."
            )
        elif any(not known for known in level.get("from_isolated") or ()):
            yield (
                f"Reference energies{of} were regressed, not computed for isolated atoms: energies of dissociation and "
                "cohesion have no meaning."
            )
    lonely = sources.statistic("frames_without_edges")
    if lonely:
        yield f"{lonely} training frames have no two atoms within the cutoff."


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
                f"(RMSE {error:.3g} meV/Å)."
            )


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
