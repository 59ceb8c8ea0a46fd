"""The tape reader as a file, which the runtime's tests make."""

from tests.runtime.conftest import tape_file, tape_graph, tapes  # noqa: F401 - fixtures
