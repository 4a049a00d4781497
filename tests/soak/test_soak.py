"""A short soak: a mishap of each sort, and the readers all the while. `make soak` is the long one."""

import pytest
from tests.conftest import Server
from tests.readers import KINDS
from tests.soak.soak import soak

REFRESHES = 10
SEED = 7  # which kills the daemon first: the last one lives long enough to show a leak
DECK = (
    "dropped, token issued",
    "MachineFingerprintDoesNotMatch, once",
    "key change made, answer dropped",
    "SIGKILL of an attempt",
    "SIGKILL of the daemon, and a start",
)


@pytest.mark.timeout(900)  # every condition has its own patience; a busy machine takes its time
def test_readers_see_whole_credentials_while_everything_goes_wrong(node: Server) -> None:
    found = soak(node, REFRESHES, seed=SEED, deck=DECK)
    assert found.wrong == ()
    assert found.refreshes >= REFRESHES
    assert found.daemons > 1
    assert set(found.happened) == set(DECK)
    assert all(found.readers[kind]["reads"] for kind in KINDS)
    assert all(len(found.readers[kind]["seen"]) > REFRESHES / 2 for kind in ("plain", "botocore"))
