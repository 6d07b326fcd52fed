"""kill -9 of the sequencer while eight writers issue certificates: no gap, no fork, nothing lost or doubled."""

import pytest

from service.bench.deployment import deployment
from service.bench.faults import faults

pytestmark = pytest.mark.slow


def test_a_sequencer_that_is_killed_again_and_again_leaves_one_whole_log() -> None:
    with deployment() as of:
        found = faults(of, seconds=4, size=4096)

    assert found.kills > 1
    assert 0 < found.while_killed <= found.certificates
    assert (found.lost, found.doubled, found.unknown) == (0, 0, 0)
    assert (found.gaps, found.altered, found.forks) == (0, 0, 0)
    assert found.sound
