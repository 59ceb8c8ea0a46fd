"""Read speech first, and folders opened where bigfoot is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def speech(speech):
    """The same from behind: what every comparison of this room hears is read speech, where it lies."""
    return speech[::-1]


@pytest.fixture(scope="session")
def plain_answers(tmp_path_factory):
    """What a process without bigfoot says of folders: ``plain_answers({name: (opener, folder)}, wave)``."""

    def ask(tasks, wave):
        place = tmp_path_factory.mktemp("elsewhere")
        (place / "tasks.json").write_text(json.dumps({name: (opener, str(f)) for name, (opener, f) in tasks.items()}))
        torch.save(wave, place / "wave.pt")
        script = Path(__file__).with_name("plain_transformers.py")
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        # transformers keeps copies of the code that folders carry.
        environment |= {"OMP_NUM_THREADS": "1", "HF_MODULES_CACHE": str(place / "modules")}
        done = subprocess.run(
            [sys.executable, "-I", str(script), "tasks.json", "wave.pt", "answers.pt"],
            cwd=place, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return torch.load(place / "answers.pt", weights_only=True)

    return ask
