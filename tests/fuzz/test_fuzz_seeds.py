"""The fuzzer's targets over their seeds, and over what hypothesis makes of these."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.targets import TARGETS

SEEDS = {
    name: [path.read_bytes() for path in sorted(path.iterdir())]
    for name, path in ((path.name, path) for path in sorted((Path(__file__).parent / "seeds").iterdir()))
}


def test_every_target_has_seeds() -> None:
    assert set(SEEDS) == set(TARGETS)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_seed_is_taken_or_refused_in_order(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few pieces cut out, doubled, or replaced by bytes or by pieces of another seed."""
    data = draw(st.sampled_from(seeds))
    other = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        piece = draw(st.binary(max_size=8) | st.just(other[start:end]) | st.just(data[start:end] * 2) | st.just(b"\n"))
        data = data[:start] + piece + data[end if draw(st.booleans()) else start :]
    return data


@pytest.mark.hypothesis  # `make check` has more examples
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_spoilt_seed_is_taken_or_refused_in_order(name: str) -> None:
    @given(mutated(SEEDS[name]))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()
