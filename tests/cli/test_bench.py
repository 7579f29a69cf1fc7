"""bench, as a user calls it."""

import json

import pytest


def test_table_plot_and_numbers(run, model_file, tmp_path):
    plot, numbers = tmp_path / "cost.png", tmp_path / "cost.json"
    code, out, err = run(
        "bench",
        model_file,
        "--atoms",
        64,
        8,
        "--seconds",
        0.05,
        "--plot",
        plot,
        "--json",
        numbers,
        "--dtype",
        "float32",
    )
    assert (code, err) == (0, "")
    small, large = json.loads(numbers.read_text())
    assert (small["atoms"], large["atoms"]) == (8, 64)
    assert large["step"] > large["model"] > 0
    rows = [line.split() for line in out.splitlines() if " equinet " in line]
    assert [row[:2] for row in rows] == [["8", "equinet"], ["64", "equinet"]]
    assert float(rows[1][2]) == pytest.approx(1e3 * large["step"], rel=0.01)
    assert float(rows[1][7]) == pytest.approx(86400e-6 / large["step"], rel=0.01)
    assert "neighbours were searched" in out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_structure_of_the_user_s(run, model_file, structures, tmp_path):
    plot = tmp_path / "cost.pdf"
    code, out, err = run(
        "bench", model_file, "--structure", structures, "--seconds", 0.01, "--timestep", 0.5, "--plot", plot
    )
    assert (code, err) == (0, "")
    assert "dynamics at 0.5 fs" in out
    assert plot.stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--against", "mace"], "--against mace needs a potential of it: give --peer-model"),
        (["--against", "sevennet"], "give --peer-model"),
        (["--peer-model", "x"], "add --against sevennet|mace|nequip"),
        (["--against", "mace", "--peer-model", "x", "--peer-arguments", "{"], "is not JSON"),
        (["--against", "mace", "--peer-model", "x", "--peer-arguments", "[1]"], "is not a JSON object"),
        (["--timestep", "0"], "--timestep 0.0"),
        (["--plot", "cost.txt"], "the name must end in .png or .pdf or .svg"),
        (["--structure", "absent.xyz"], "absent.xyz"),
    ],
)
def test_what_cannot_be(fails, model_file, options, words):
    assert words in fails("bench", model_file, *options)


def test_an_element_that_the_model_does_not_know(fails, model_file, tmp_path):
    (tmp_path / "gold.xyz").write_text("1\n\nAu 0 0 0\n")
    line = fails("bench", model_file, "--structure", tmp_path / "gold.xyz")
    assert "gold.xyz: the potential does not know Au" in line


def test_another_package_that_is_not_there(fails, model_file, tmp_path):
    line = fails("bench", model_file, "--atoms", 8, "--seconds", 0.01, "--against", "mace", "--peer-model", "x")
    assert "No module named 'mace'" in line
    assert "--peer-python" in line
