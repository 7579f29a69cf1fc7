"""The specification of a convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equinet_kernels import Block, ConvSpec, Layout, Path
from equinet_kernels.spec import MAX_L
from tests.kernels.conv_cases import CASES, output_columns, weight_columns

X = Layout.parse("4x0e+2x1o")


@st.composite
def specs(draw: st.DrawFn) -> ConvSpec:
    """Any valid spec: any blocks, any non-empty set of paths that the triangle rule allows."""
    irreps = st.tuples(st.integers(0, MAX_L), st.sampled_from([1, -1]))
    chosen = draw(st.lists(irreps, min_size=1, max_size=4, unique=True))
    x = Layout(Block(draw(st.integers(1, 130)), l, p) for l, p in chosen)
    l_max = draw(st.integers(0, MAX_L))
    allowed = [
        Path(i, l2, l3, p3)
        for i, block in enumerate(x)
        for l2 in range(l_max + 1)
        for l3 in range(abs(block.l - l2), min(block.l + l2, MAX_L) + 1)
        for p3 in (-1, 1)
    ]
    paths = draw(st.sets(st.sampled_from(allowed), min_size=1, max_size=12))
    return ConvSpec(x, l_max, tuple(sorted(paths)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(specs())
def test_text_and_sizes(spec):
    again = ConvSpec.parse(str(spec))
    assert again == spec
    assert str(again) == str(spec)
    assert again.key == spec.key
    assert spec.weight_dim == sum(spec.x[path.i].channels for path in spec.paths)
    assert spec.out.dim == sum(spec.x[path.i].channels * (2 * path.l3 + 1) for path in spec.paths)
    assert [block[1:] for block in spec.out] == sorted({path[2:] for path in spec.paths})
    for columns_of, total in ((weight_columns, spec.weight_dim), (output_columns, spec.out.dim)):
        columns = sorted(column for _, part in columns_of(spec) for column in part)
        assert columns == list(range(total))


def test_text_as_documented():
    spec = ConvSpec(X, 1, (Path(0, 0, 0, 1), Path(0, 1, 1, -1), Path(1, 1, 0, 1)))
    assert str(spec) == "uvu;x=4x0e+2x1o;l_max=1;paths=0.0.0e,0.1.1o,1.1.0e"
    assert str(spec.out) == "6x0e+4x1o"
    assert (spec.weight_dim, spec.y_dim) == (10, 4)


def test_keys_differ_and_do_not_change():
    assert len({case.spec.key for case in CASES.values()}) == len(CASES)
    # of a string that does not change, so that caches of generated code stay valid
    assert ConvSpec.parse("uvu;x=1x0e;l_max=0;paths=0.0.0e").key == "225afca572883241"


def test_all_paths_respects_parity():
    spec = ConvSpec.all_paths(X, 1, [(0, 1), (1, 1), (1, -1)])
    assert set(spec.paths) == {
        Path(0, 0, 0, 1),
        Path(0, 1, 1, -1),
        Path(1, 0, 1, -1),
        Path(1, 1, 0, 1),
        Path(1, 1, 1, 1),
    }
    so3 = ConvSpec.all_paths(Layout.parse("1x1e"), 1, [(0, 1), (1, 1)], y_parity=1)
    assert set(so3.paths) == {Path(0, 0, 1, 1), Path(0, 1, 0, 1), Path(0, 1, 1, 1)}


@pytest.mark.parametrize(
    ("x", "l_max", "paths", "message"),
    [
        (X, 1, (), "at least one path"),
        (X, 1, (Path(1, 0, 1, -1), Path(0, 0, 0, 1)), "unique and ordered"),
        (X, 1, (Path(0, 0, 0, 1), Path(0, 0, 0, 1)), "unique and ordered"),
        (X, 1, (Path(0, 1, 0, 1),), "triangle rule"),
        (X, 2, (Path(1, 2, 4, 1),), "triangle rule"),
        (X, 1, (Path(0, 2, 2, 1),), "out of range"),
        (X, 1, (Path(2, 0, 0, 1),), "out of range"),
        (X, 1, (Path(-1, 1, 1, 1),), "out of range"),
        (X, 1, (Path(0, 1, 1, 0),), "out of range"),
        (X, 7, (Path(0, 0, 0, 1),), "above l = 6"),
        (Layout.parse("1x4e"), 4, (Path(0, 4, 7, 1),), "above l = 6"),
        (Layout.parse("1x0e+1x7e"), 0, (Path(0, 0, 0, 1),), "above l = 6"),
    ],
)
def test_what_is_no_spec_is_refused(x, l_max, paths, message):
    with pytest.raises(ValueError, match=message):
        ConvSpec(x, l_max, paths)


def test_all_paths_without_any():
    with pytest.raises(ValueError, match="at least one path"):
        ConvSpec.all_paths(Layout.parse("1x0e"), 1, [(2, 1)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uvw;x=1x0e;l_max=0;paths=0.0.0e",
        "uvu;x=1x0e;l_max=0",
        "uvu;x=1x0e;l_max=0;paths=",
        "uvu;x=1x0e;l_max=0;paths=0.0.0",
        "uvu;x=1x0e;l_max=0;paths=0.0.0z",
        "uvu;x=1x0e;l_max=0;paths=0.0e",
        "uvu;x=1x0e;l_max=0;paths=0.0.0e,",
        "uvu;x=1x0e;l_max=0;l_max=0;paths=0.0.0e",
        "uvu;x=1x0e;l_max=0;paths=0.0.0e;more",
    ],
)
def test_what_is_no_text_of_a_spec_is_refused(text):
    with pytest.raises(ValueError, match="not a convolution spec"):
        ConvSpec.parse(text)


def test_coupling_of_a_block_stacks_its_paths():
    spec = CASES["both parities, l = 2"].spec
    for i in range(len(spec.x)):
        stacked, row = spec.coupling_of_block(i), 0
        for path in (path for path in spec.paths if path.i == i):
            rows = slice(row, row + 2 * path.l3 + 1)
            own = slice(path.l2**2, (path.l2 + 1) ** 2)
            assert torch.equal(stacked[own, rows].permute(2, 0, 1), spec.coupling(path))
            assert torch.count_nonzero(stacked[:, rows]) == torch.count_nonzero(stacked[own, rows]) > 0
            row = rows.stop
        assert stacked.shape == (spec.y_dim, row, 2 * spec.x[i].l + 1)
