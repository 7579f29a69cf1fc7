"""No verb writes its output over one of its inputs, or two outputs to one file; it says so before it begins."""

import pytest

CASES = {
    "predict": ("predict", "MODEL", "other", "x.xyz", "-o", "x.xyz"),
    "relax": ("relax", "MODEL", "x.xyz", "-o", "x.xyz"),
    "md": ("md", "MODEL", "x.xyz", "--timestep", 1, "--steps", 1, "-o", "x.xyz"),
    "select frames": ("select", "MODEL", "x.xyz", "--uncertainty", "other", "-n", 1, "-o", "x.xyz"),
    "select labelled": (
        *("select", "MODEL", "other", "--uncertainty", "other", "-n", 1, "-o", "x.xyz", "--labelled", "x.xyz"),
    ),
    "select folder": ("select", "MODEL", "runs", "--uncertainty", "other", "-n", 1, "-o", "runs/0.extxyz"),
    "test": ("test", "MODEL", "other", "x.json", "--json", "x.json"),
    "test report": ("test", "MODEL", "other", "runs/worst.extxyz", "--report", "runs"),
    "compile": ("compile", "x.safetensors", "-o", "x.safetensors"),
    "import": ("import", "sevennet", "x.safetensors", "-o", "x.safetensors"),
    "export": ("export", "x.pt", "--to", "torchscript", "-o", "x.pt"),
    "info": ("info", "MODEL", "--card", "-o", "MODEL"),
    "verify": ("verify", "MODEL", "--structure", "x.json", "--json", "x.json"),
    "bench": ("bench", "MODEL", "--structure", "x.json", "--json", "x.json"),
    "data check": ("data", "check", "x.json", "--json", "x.json"),
    "uncertainty": (
        *("uncertainty", "MODEL", "x.safetensors", "--train", "x.xyz", "--calibrate", "other", "-o", "x.safetensors"),
    ),
}


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_no_input_is_overwritten(fails, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("MODEL", "other", "x.xyz", "x.json", "x.safetensors", "x.pt", "runs/0.extxyz", "runs/worst.extxyz"):
        (tmp_path / name).write_text("precious")
    assert "is one of the inputs; give the output another name" in fails(*arguments)
    assert {file.read_text() for file in tmp_path.rglob("*") if file.is_file()} == {"precious"}


def test_two_outputs_have_two_names(fails, tmp_path):
    options = ("--uncertainty", tmp_path / "u", "-n", 1)
    figure = tmp_path / "x.png"
    (tmp_path / "x.extxyz").symlink_to(figure)
    line = fails("select", "m", "x.xyz", *options, "-o", tmp_path / "x.extxyz", "--figure", figure)
    dynamics = ("md", "m", "x.xyz", "--timestep", 1, "--steps", 1, "-o", tmp_path / "k.xyz")
    assert "--log" in fails(*dynamics, "--log", tmp_path / "k.xyz")
    assert "--guard-output" in fails(*dynamics, "--uncertainty", "u", "--guard-output", tmp_path / "k.xyz")
    assert f"--figure {figure} is what -o names too; give each output a name of its own" in line
