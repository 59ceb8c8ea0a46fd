"""Chunking and recordings are tried with the tape reader of the runtime's tests."""

from tests.runtime.conftest import *  # noqa: F403
