"""Teacher and student of the tests of losses."""

import pytest


@pytest.fixture
def teacher(build_model):
    return build_model("base", seed=1, num_hidden_layers=4)


@pytest.fixture
def student(build_model):
    return build_model("base", seed=2, num_hidden_layers=2)
