"""Real speech for the tests of the data room: a small synthetic corpus, and published ones where they lie at hand."""

import os
from pathlib import Path

import pytest
import torch

from bigfoot.data.corpora import PreparedData, prepare_data
from bigfoot.data.settings import DataConfig


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    given = os.environ.get("BIGFOOT_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(given)
    if not (folder / "LibriSpeech" / "dev-mini").is_dir():
        pytest.skip("no real speech here; set BIGFOOT_DATA to the folder that holds LibriSpeech/ and fsdd/")
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    config = DataConfig(num_train=37, num_dev=5, num_test=4, max_digits=4)
    return prepare_data(config, seed=3, folder=tmp_path_factory.mktemp("digits"))
