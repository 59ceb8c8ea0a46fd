"""Problems as tests compare them: by key and code, never by their wording."""

from contextlib import contextmanager

import pytest

from bigfoot.errors import ConfigError


def codes(problems):
    return [(problem.key, problem.code) for problem in problems]


@contextmanager
def refusing(*expected, kind=ConfigError):
    """Expect an error with these problems, (key, code) each."""
    with pytest.raises(kind) as caught:
        yield caught
    assert codes(caught.value.problems) == list(expected)
