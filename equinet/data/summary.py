"""What a person should know of the data before training starts, as lines of text."""

from collections.abc import Sequence

from ase.data import chemical_symbols

from equinet.data.labels import ReadReport
from equinet.data.statistics import Statistics
from equinet.data.stress_check import StressCheck


def summarize(
    reports: Sequence[ReadReport],
    statistics: Statistics,
    check: StressCheck | None,
    references: Sequence[str] | None = None,
) -> list[str]:
    """Describe the training data.

    Args:
        reports: how the files were read; those of the files that the statistics are of.
        statistics: of the training split.
        check: of the stress labels; None where there are none.
        references: lines on E0 where they come from a trained potential, in place of those of the statistics.

    Returns:
        Lines to print: label choice and counts per file, statistics, E0 table, stress check.
    """
    lines = []
    for report in reports:
        lines += _of_file(report)
    if references is None:
        references = [line for level in statistics.of_modals or [statistics] for line in _of_atoms(level)]
    return [*lines, *_of_training(statistics), *references, *([check.line()] if check else [])]


def _of_file(report: ReadReport) -> list[str]:
    keys = report.keys
    virial_key = " and ".join(key for key in (keys.stress, keys.virial) if key)
    labels = [
        f"{name} from {key} ({count})" if key else f"no {name}"
        for name, key, count in (
            ("energy", keys.energy, report.frames_with_energy),
            ("forces", keys.forces, report.frames_with_forces),
            ("virial", virial_key, report.frames_with_virial),
        )
    ]
    notes = [
        f"{count} {what}"
        for count, what in (
            (report.unlabelled, "frames without any label left out"),
            (report.stress_ignored, "stress labels ignored: not periodic in three directions"),
            (report.free_energy_differs, "frames whose energy and free energy differ by over 1 meV/atom"),
        )
        if count
    ]
    if report.other_units:
        notes.append(f"units: {report.other_units}")
    return [f"{report.path}: {report.frames} frames; {', '.join(labels)}", *(f"  {note}" for note in notes)]


def _of_training(s: Statistics) -> list[str]:
    rms = [
        f"{name} {value:.4g} {unit}"
        for name, value, unit in (
            ("energy", s.energy_rms_per_atom, "eV/atom (after E0 and shift)"),
            ("force", s.force_rms, "eV/A"),
            ("stress", s.stress_rms, "eV/A^3"),
        )
        if value is not None
    ]
    lines = [
        f"training split: {s.frames} frames, {s.atoms} atoms; labelled: energy {s.frames_with_energy}, "
        f"forces {s.frames_with_forces}, stress {s.frames_with_stress}, virial {s.frames_with_virial}",
        f"rms of labels: {', '.join(rms) or 'none'}",
        f"neighbours within {s.cutoff:g} A: {s.mean_neighbors:.2f} per atom on average, {s.min_neighbors} at least",
    ]
    if s.sampled_frames is not None:
        lines.append(f"E0s, rms values and neighbours are those of {s.sampled_frames} frames drawn at random")
    if s.isolated_frames:
        lines.append(f"{s.isolated_frames} isolated-atom frames give E0 and are not trained on")
    if s.frames_without_edges:
        lines.append(f"{s.frames_without_edges} frames without any edge")
    return lines


def _of_atoms(s: Statistics) -> list[str]:
    title = f"{s.modal}, {s.frames} frames: " if s.modal else ""
    lines = [f"{title}E0 from {s.isolated_energies_source}:"]
    for i, z in enumerate(s.species):
        source = "isolated atom" if s.from_isolated[i] else "regression"
        prior = s.priors[i] if s.priors else None
        if prior is not None:
            source += f" toward {prior:.4f}"
        if z in s.undetermined:
            source += ", not determined by the data"
        lines.append(
            f"  {chemical_symbols[z]:2s} {s.isolated_energies[i]:14.4f} eV   shift {s.shift[i]:9.4f} eV   {source}"
        )
    if s.rank is not None:
        open_ = " ".join(chemical_symbols[z] for z in s.undetermined)
        fate = f"undetermined: {open_} ({s.regressed_species - s.rank} directions)" if open_ else "all determined"
        lines.append(
            f"  composition matrix of rank {s.rank} for {s.regressed_species} elements, {fate}; prior: {s.prior_source}"
        )
    return lines
