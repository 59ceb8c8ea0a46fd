"""A small corpus of labelled voices and a task model on it."""

import pytest

from bigfoot.data.corpora import prepare_data
from bigfoot.data.settings import DataConfig
from bigfoot.models.reshape import with_task_head


@pytest.fixture(scope="session")
def voices(tmp_path_factory):
    """Manifests of synthetic voices with the labels sex and traits."""
    config = DataConfig(num_train=16, num_dev=8, num_test=13, max_digits=3, labels=["sex", "traits"])
    return prepare_data(config, 3, tmp_path_factory.mktemp("voices")).manifests


@pytest.fixture(scope="session")
def task_model(build_model):
    """A random model with a task head: ``task_model(**shape)``."""

    def build(structure="base", **shape):
        fields = {"labels": ["female", "male"], "column": "sex", "pooling": "statistics", "layers": "weighted"}
        return with_task_head(build_model(structure), fields | shape, seed=2)

    return build
