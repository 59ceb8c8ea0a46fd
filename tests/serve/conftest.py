"""A model, recordings, and a server of them."""

import numpy as np
import pytest

from bigfoot.data.synthetic import synthesize_string
from tests.serve.clients import serving

LIMITS = ("--max-requests", "24", "--max-megabytes", "1.2", "--max-seconds", "70")


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with a model and recordings: short ones, and one that takes a while."""
    import soundfile

    from bigfoot.export.onnx import build_onnx
    from bigfoot.formats.folder import load_model

    folder = tmp_path_factory.mktemp("serve")
    build_onnx(load_model("tiny_teacher")).save(folder / "student.onnx")
    waves = [synthesize_string(0, "test", index, 1, 4).samples for index in range(6)]
    for index, wave in enumerate(waves):
        soundfile.write(folder / f"{index}.wav", wave, 16_000)
    soundfile.write(folder / "long.flac", np.concatenate(waves * 5)[: 16_000 * 40], 16_000)
    return folder


@pytest.fixture(scope="session")
def server(place):
    with serving(place, *LIMITS) as (process, address):
        yield process, address
