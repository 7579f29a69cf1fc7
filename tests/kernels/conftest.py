"""The implementations that every test of numbers runs through."""

from collections.abc import Iterator

import pytest

import equinet_kernels
from equinet_kernels import native


@pytest.fixture(params=["reference", "cpu"])
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every operator runs on this implementation, and nothing else; where it is missing, that is an error."""
    if request.param == "cpu":
        assert native.LIBRARY is not None, native.REASON
    with equinet_kernels.use(request.param, strict=True):
        yield request.param
