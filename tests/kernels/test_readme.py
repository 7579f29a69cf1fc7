"""The code in the README of the kernels runs, and its assertions hold."""

import re
from pathlib import Path

import equinet_kernels

README = Path(__file__).resolve().parents[2] / "kernels" / "README.md"


def test_code_of_the_readme_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})


def test_readme_names_every_operator():
    text = README.read_text()
    for name in (
        "edge_vectors",
        "index_sum",
        "radial_spline",
        "segment_gather",
        "segment_sum",
        "tabulate",
        "RadialConv",
        "SphericalHarmonics",
        "TabulatedConv",
        "UVUConv",
    ):
        assert hasattr(equinet_kernels, name)
        assert f"`{name}" in text
