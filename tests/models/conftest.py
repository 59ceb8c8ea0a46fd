"""Read speech first."""

import pytest


@pytest.fixture(scope="session")
def speech(speech):
    """The same from behind: comparisons of this room are of read speech, where it lies."""
    return speech[::-1]
