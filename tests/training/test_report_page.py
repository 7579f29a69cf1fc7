"""The report of a test: what it says is what was computed, and it stands alone."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.io import read

from equinet.data import compute_statistics, read_records
from equinet.errors import InputError
from equinet.files import make_folder
from equinet.models import NequIPArchitecture, Potential
from equinet.models.facts import ModelFacts
from equinet.training.evaluation import predict_records
from equinet.training.report import Results, compare_data_sets, data_set_names, write_test_report
from equinet.training.report.categories import OTHERS, categorize
from equinet.training.report.quantities import angles, quantities
from equinet.training.report.style import PALETTE
from equinet.training.report.tables import QUANTITIES, Cell, error_rows, latex, markdown
from equinet.training.report.writing import direction_note
from tests.training.report_pages import Page

MODEL = ModelFacts("runs/a/model.safetensors", "ab" * 32, "NequIP", 1234, 3.2, 1, "float64", ("H", "O", "Cu"))


@pytest.fixture(scope="module")
def records(mixed_file):
    return read_records(mixed_file)


@pytest.fixture(scope="module")
def potential(records):
    torch.manual_seed(0)
    statistics = compute_statistics(list(records), 3.2)
    architecture = NequIPArchitecture(
        cutoff=3.2, layers=1, l_max=1, channels=2, num_bessel=3, radial_hidden=[4], mean_neighbors=5.0
    )
    return Potential(architecture, statistics.species, statistics.isolated_energies, 1.0, dtype=torch.float64)


def results_of(potential, sets, report, by=None, model=MODEL):
    predicted = [
        (name, "cd" * 32, replace(report, path=f"data/{name}.extxyz"), predict_records(potential, records))
        for name, records in sets.items()
    ]
    data_sets, together = compare_data_sets(predicted, by)
    return Results(model, data_sets, together, by, "2026-01-02T03:04:05+00:00", {"equinet": "0.1.0"})


def labelled_with(records, *labels):
    """The records with labels of these kinds only."""
    absent = {label: None for label in ("energy", "forces", "virial") if label not in labels}
    frames = [replace(record, **absent) for record in records]
    return [frame for frame in frames if any(getattr(frame, label) is not None for label in labels)]


@pytest.fixture(scope="module")
def report(potential, records, tmp_path_factory):
    """(folder, results): two data sets, groups in one of them, and a learning curve."""
    folder = tmp_path_factory.mktemp("report")
    grouped = [replace(r, info={"kind": "bulk" if r.pbc.all() else "open"}) for r in records]
    results = results_of(potential, {"mixed": grouped, "few": list(records)[:2]}, records.report, "kind")
    history = [{"epoch": e, "train/loss": 2.0 / (e + 1), "val/loss": 3.0 / (e + 1)} for e in range(3)]
    page = write_test_report(folder, results, potential, 7, history)
    assert page == folder / "index.html"
    return folder, results


def test_the_page_needs_nothing_but_itself(report):
    folder, _ = report
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    images = page.attributes("src")
    assert len(images) == 5
    for image in images:
        kind, content = image.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import|https?:", page.style)
    links = page.attributes("href")
    assert {"table.tex", "table.md", "errors.json", "worst.extxyz", "parity.png"} <= set(links)
    assert all((folder / link).is_file() for link in links)  # relative, beside the page
    assert not set(page.attributes("srcset") + page.attributes("action") + page.attributes("style"))
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert "default-src 'none'" in policy


def test_numbers_of_the_page_and_of_the_files_are_those_of_the_evaluation(report):
    folder, results = report
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    written = json.loads((folder / "errors.json").read_text())
    mixed = results.data_sets[0].evaluation
    rows = {("all together", ""): results.together, ("mixed", ""): mixed, ("few", ""): results.data_sets[1].evaluation}
    rows |= {("mixed", name): group for name, group in mixed.groups.items()}
    assert {name for _, name in rows} == {"", "bulk", "open"}
    for (data_set, group), evaluation in rows.items():
        cells = page.errors(data_set, group)
        keys = [key.format(m) for key, _ in QUANTITIES.values() for m in ("mae", "rmse")]
        expected = [evaluation.errors[key] for key in keys if key in evaluation.errors]
        assert [value for value, _ in cells] == expected
        for value, shown in cells:
            decimals = len(shown.partition(".")[2])
            assert shown == f"{value:.{decimals}f}"
            assert float(shown) != 0.0
    key = "force_rmse_mev_per_angstrom"
    assert written[key] == results.together.errors[key]
    assert written["data_sets"]["mixed"]["groups"]["bulk"][key] == mixed.groups["bulk"].errors[key]
    assert written["data_sets"]["few"]["data"]["sha256"] == "cd" * 32
    assert written["model_sha256"] == MODEL.sha256
    for text in ((folder / "table.md").read_text(), (folder / "table.tex").read_text()):
        lines = [line for line in text.splitlines() if "mixed" in line and "bulk" not in line and "open" not in line]
        assert len(lines) == 1
        row = error_rows(results)[1]
        for name in QUANTITIES:
            assert row.cells[name]["rmse"].text in lines[0]
            assert row.cells[name]["rmse"].interval_text.replace("\N{EN DASH}", "--") in lines[0].replace(
                "\N{EN DASH}", "--"
            )


def test_elements_and_what_was_tested_stand_on_the_page(report):
    folder, results = report
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    for element, errors in results.together.per_element.items():
        row = next(row for row in page.rows if row[0].get("data-element") == element)
        keys = ("force_mae_mev_per_angstrom", "force_rmse_mev_per_angstrom", "force_rms_mev_per_angstrom")
        assert [value for value, _ in row[2]] == [errors[key] for key in keys]
        assert row[1][1] == str(errors["atoms"])
    for text in (MODEL.sha256, "cd" * 32, "2026-01-02", "equinet 0.1.0", "data/mixed.extxyz"):
        assert text in page.text


def test_worst_structures_read_back_with_their_errors(report):
    folder, results = report
    frames = read(folder / "worst.extxyz", index=":")
    known = {f.record.source: f for data_set in results.data_sets for f in data_set.frames}
    by_forces = [atoms for atoms in frames if atoms.info["reason"] == "force RMSE"]
    by_energy = [atoms for atoms in frames if atoms.info["reason"] == "energy error per atom"]
    assert [atoms.info["rank"] for atoms in by_forces] == list(range(1, 8))
    assert [atoms.info["rank"] for atoms in by_energy] == list(range(1, 8))
    for atoms in frames:
        frame = known[atoms.info["source"]]
        assert atoms.info["predicted_energy"] == pytest.approx(frame.energy, abs=1e-12)
        np.testing.assert_allclose(atoms.arrays["predicted_forces"], frame.forces, atol=1e-7)
        assert atoms.calc is None  # nothing that could be taken for a label
    errors = [
        1e3 * np.sqrt(np.mean((atoms.arrays["predicted_forces"] - atoms.arrays["REF_forces"]) ** 2))
        for atoms in by_forces
    ]
    written = [atoms.info["force_rmse_mev_per_angstrom"] for atoms in by_forces]
    np.testing.assert_allclose(errors, written, rtol=1e-5)
    every = sorted(
        (1e3 * np.sqrt(np.mean((f.forces - f.record.forces) ** 2)) for d in results.data_sets for f in d.frames
         if f.record.forces is not None), reverse=True
    )  # fmt: skip
    np.testing.assert_allclose(written, every[:7])
    for atoms in by_energy:
        error = 1e3 * (atoms.info["predicted_energy"] - atoms.info["REF_energy"]) / len(atoms)
        assert error == pytest.approx(atoms.info["energy_error_mev_per_atom"])
    lengths = np.linalg.norm(by_forces[0].arrays["predicted_forces"] - by_forces[0].arrays["REF_forces"], axis=1)
    np.testing.assert_allclose(by_forces[0].arrays["force_error"], lengths, atol=1e-7)
    labels = read_records(folder / "worst.extxyz")  # REF_ labels, found without being named
    assert [label.energy for label in labels] == [atoms.info.get("REF_energy") for atoms in frames]
    stressed = [
        (label, known[atoms.info["source"]])
        for label, atoms in zip(labels, frames, strict=True)
        if label.stress is not None
    ]
    assert stressed
    for label, frame in stressed:
        np.testing.assert_allclose(label.stress, frame.record.stress, atol=1e-12)


def test_hostile_names_are_text(potential, records, tmp_path):
    attack = "<script>alert(1)</script>"
    key = "k\"><img src=x onerror=alert(1)> = 'é"
    info = {key: attack, "$x^2$ {": "\n\u202e\\input{/etc/passwd}", "rank": "mine", "forces": "none", "list": [{}]}
    frames = [
        replace(record, info=info, source=f"{attack}/{attack}.extxyz frame {n}") for n, record in enumerate(records)
    ]
    model = replace(MODEL, file=f"{attack}/$\\frac$.safetensors", modal=attack)
    results = results_of(potential, {f"{attack}|$&_": frames, "\\end{tabular}": frames}, records.report, key, model)
    write_test_report(tmp_path, results, potential, 2)
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert not {"script"} & {tag for tag, _ in page.tags}
    assert not page.attributes("onerror")
    assert all(source.startswith("data:image/png") for source in page.attributes("src"))
    assert page.text.count(attack) >= 5
    assert page.errors(f"{attack}|$&_", attack)
    for line in (tmp_path / "table.md").read_text().splitlines():
        assert (
            len(re.findall(r"(?<!\\)\|", line)) == 14
        )  # not all of these records have each label, which takes three columns
        assert "<script" not in line
    tex = (tmp_path / "table.tex").read_text()
    assert tex.count(r"\end{tabular}") == 1
    assert r"\textbackslash{}end\{tabular\}" in tex
    worst = read(tmp_path / "worst.extxyz", index=":")
    assert worst[0].info["original_rank"] == "mine"
    assert worst[0].info["rank"] == 1
    assert attack in worst[0].info.values()


@pytest.mark.parametrize("labels", [("energy",), ("forces",), ("virial",)])
def test_what_has_no_labels_is_said_to_have_none(potential, records, labels, tmp_path):
    results = results_of(potential, {"some": labelled_with(records, *labels)}, records.report)
    write_test_report(tmp_path, results, potential)
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    shown = {"energy": "Energy", "forces": "Forces", "virial": "Stress"}[labels[0]]
    assert page.text.count("no labels") >= 4  # twice at the top, twice below the figures
    for name in QUANTITIES:
        assert (f"{name}: no labels" in page.text) == (name != shown)
    assert len(page.errors("some")) == 2
    assert (tmp_path / "directions.png").exists() == (shown == "Forces")


def test_labels_are_counted_where_not_all_frames_have_them(potential, records, tmp_path):
    """A number from one frame of three must not look like one from three."""
    crystals = [record for record in records if record.virial is not None][:3]
    some = [crystals[0], *(replace(record, energy=None) for record in crystals[1:])]
    results = results_of(potential, {"all": crystals, "some": some}, records.report)
    write_test_report(tmp_path, results, potential)
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0].startswith("| Data set | Frames | Atoms | With energy | Energy MAE, meV/atom |")
    assert [line.split("|")[4].strip() for line in lines[2:]] == ["4", "3", "1"]
    tex = (tmp_path / "table.tex").read_text()
    assert r"\begin{tabular}{lrrrrrrrrr}" in tex
    assert r"\cmidrule(lr){5-6} \cmidrule(lr){7-8} \cmidrule(lr){9-10}" in tex
    assert f"some & 3 & {sum(len(record.numbers) for record in crystals)} & 1 & " in tex
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert [row[1][3] for row in page.rows if row[0].get("data-set")] == ["4", "3", "1"]
    assert "4 of 6 frames" in page.text

    write_test_report(tmp_path, results_of(potential, {"all": crystals}, records.report), potential)
    assert "With" not in (tmp_path / "table.md").read_text() + (tmp_path / "table.tex").read_text()


def test_a_single_frame_has_errors_and_no_interval(potential, records, tmp_path):
    results = results_of(potential, {"one": list(records)[:1]}, records.report)
    write_test_report(tmp_path, results, potential)
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert len(page.errors("one")) == 6
    assert not [attributes for tag, attributes in page.tags if tag == "small"]
    assert "(" not in (tmp_path / "table.md").read_text()
    assert len(read(tmp_path / "worst.extxyz", index=":")) == 2


def test_an_exact_model_is_drawn_too(potential, records, tmp_path):
    """No error anywhere: nothing to spread a logarithmic axis over."""
    frames = predict_records(potential, list(records)[:3])
    exact = [replace(f.record, energy=f.energy, forces=f.forces, virial=-f.record.volume * f.stress) for f in frames]
    results = results_of(potential, {"exact": exact}, records.report)
    write_test_report(tmp_path, results, potential)
    assert results.together.errors["force_rmse_mev_per_angstrom"] == pytest.approx(0.0, abs=1e-9)


def test_names_of_data_sets_tell_files_apart(tmp_path):
    si, ge = tmp_path / "Si" / "test.extxyz", tmp_path / "Ge" / "test.extxyz.gz"
    assert data_set_names([si]) == ["test"]
    assert data_set_names([si, tmp_path / "Si" / "val.db"]) == ["test", "val"]
    assert data_set_names([si, ge, tmp_path / "x" / "surface.xyz"]) == ["Si/test", "Ge/test", "surface"]
    assert data_set_names([si, tmp_path / "Si" / "test.xyz"]) == [str(si), str(tmp_path / "Si" / "test.xyz")]
    with pytest.raises(InputError, match="given twice"):
        data_set_names([si, tmp_path / "Ge" / ".." / "Si" / "test.extxyz"])


def test_the_folder_must_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot make the folder .*file"):
        make_folder(tmp_path / "file")


def test_a_missing_key_is_asked_of_all_data_sets_together(potential, records):
    keyed = [replace(record, info={"kind": "a"}) for record in records]
    results = results_of(potential, {"with": keyed, "without": list(records)}, records.report, "kind")
    assert [list(data_set.evaluation.groups) for data_set in results.data_sets] == [["a"], []]
    with pytest.raises(InputError, match="no frame has the info key 'colour'"):
        results_of(potential, {"with": keyed, "without": list(records)}, records.report, "colour")


def test_text_in_tables_is_harmless():
    assert latex("50 % of a_b & ~x^2\n{y} \\today Å") == (
        r"50 \% of a\_b \& \textasciitilde{}x\textasciicircum{}2 \{y\} \textbackslash{}today \AA{}"
    )
    assert markdown("a|b <i> [x](y) *z* snake_case\n_") == r"a\|b &lt;i&gt; \[x\](y) \*z\* snake_case \_"
    assert Cell(1.234, (1.0, 2.0), 1).interval_text == "1.0\N{EN DASH}2.0"


def test_angles_between_forces():
    reference = np.array([[1.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 2]])
    predicted = np.array([[3.0, 0, 0], [0, 2, 0], [1, 0, 0], [1, 0, 0], [0, 0, -1e-9]])
    np.testing.assert_allclose(angles(reference, predicted), [0, 90, 45, np.nan, 180], atol=1e-5)


def test_directions_are_told_without_exponents():
    reference = np.tile([[1.0, 0.0, 0.0], [1500.0, 0.0, 0.0]], (3, 1))
    backwards = np.tile([[-1.0, 1.0, 0.0], [-1.0, 0.2, 0.0]], (3, 1))
    assert "Median 152°, mean cosine -0.8438; for forces above the median of 750 eV/Å: 169°" in direction_note(
        reference, backwards
    )
    close = np.tile([[1.0, 0.008, 0.0]], (6, 1))
    assert "Median 0.458°" in direction_note(reference, close)


def test_a_name_has_one_colour_in_every_panel(potential, records):
    """Data sets in the order given, elements by their atoms, whatever labels there are."""
    frames = list(records)
    water = [r for r in frames if len(np.unique(r.numbers)) == 2]
    copper = [r for r in frames if len(np.unique(r.numbers)) == 1]
    results = results_of(potential, {"water": water, "copper": copper}, records.report)
    by_name = {q.name: q.categories for q in quantities(results.data_sets, lambda frame: 0.0, None)}
    assert by_name["energy"]["data set"].names == by_name["forces"]["data set"].names == {0: "water", 1: "copper"}
    assert by_name["stress"]["data set"].names == {1: "copper"}
    assert by_name["forces"]["element"].names == {0: "Cu", 1: "H", 2: "O"}
    assert by_name["energy"]["element"].names == {0: "Cu", 1: "H-O"}
    forces = by_name["forces"]["element"].index
    atoms = np.concatenate([r.numbers for r in water + copper if r.forces is not None])
    np.testing.assert_array_equal(forces, np.repeat([{29: 0, 1: 1, 8: 2}[z] for z in atoms.tolist()], 3))


def test_what_the_palette_has_no_colour_for_is_one():
    names = [f"n{k}" for k in range(12)]
    found = categorize(names, [1] * 12, {name: min(k, len(PALETTE)) for k, name in enumerate(names)})
    assert list(found.names.values()) == [*names[: len(PALETTE)], OTHERS]
    assert found.index.max() == len(PALETTE)


def test_a_million_points_are_drawn_in_bounded_memory_and_an_outlier_is_seen():
    from matplotlib.figure import Figure

    from equinet.training.report.density import BINS, MOST_POINTS, color_of, draw_points

    ax = Figure().subplots()
    ax.set(xlim=(-5.0, 5.0), ylim=(-5.0, 5.0))
    random = np.random.default_rng(0)
    x = np.append(random.normal(0, 0.3, 300_000), 4.9)
    category = np.append(np.zeros(300_000, dtype=np.int64), 1)
    draw_points(ax, x, x, category)
    (mesh,) = ax.collections
    image = mesh.get_array()
    assert image.shape == (BINS, BINS, 4)
    row = column = int((4.9 + 5.0) / 10.0 * BINS)
    from matplotlib.colors import to_rgba

    np.testing.assert_allclose(image[row, column], [*to_rgba(color_of(1))[:3], 0.5])
    assert image[BINS // 2, BINS // 2, 3] > 0.95
    assert image[0, -1, 3] == 0.0

    few = Figure().subplots()
    draw_points(few, x[:MOST_POINTS], x[:MOST_POINTS], category[:MOST_POINTS])
    assert len(few.collections[0].get_offsets()) == MOST_POINTS
