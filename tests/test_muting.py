"""A command prints its own words: those of other libraries are muted, in it and in its children."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC
from transformers.utils import logging as bars

from bigfoot.muting import without_bars

ROOT = Path(__file__).resolve().parent.parent
NOISY = """
import logging, os, subprocess, sys, warnings
from bigfoot.muting import mute_libraries
mute_libraries()
warnings.warn("noise", UserWarning)
warnings.warn("noise", FutureWarning)
logging.warning("noise")  # which adds a handler to the root logger, where there is none
logging.getLogger("lhotse.x").warning("noise")
logging.getLogger("bigfootnote").warning("noise")
logging.getLogger("bigfoot.data").warning("kept 1")
logging.getLogger("lhotse").error("kept 2")
subprocess.run([sys.executable, "-c", "import warnings; warnings.warn('noise')"])
"""


def test_warnings_and_log_lines_of_others_are_muted_and_ours_are_not():
    quiet = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run([sys.executable, "-c", NOISY], cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.split()) == (0, "", ["kept", "1", "kept", "2"])


def test_warnings_that_the_user_wants_stay():
    command = [sys.executable, "-W", "default", "-c", NOISY]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr.count("noise") >= 2


def test_models_are_saved_without_a_bar_and_the_setting_stays(tmp_path, capfd):
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**shape, conv_dim=(8,) * 7, num_conv_pos_embeddings=16,
                                          num_conv_pos_embedding_groups=2))  # fmt: skip
    before = bars.is_progress_bar_enabled()
    bars.enable_progress_bar()
    try:
        with without_bars():
            model.save_pretrained(tmp_path)
            Wav2Vec2ForCTC.from_pretrained(tmp_path)
        assert bars.is_progress_bar_enabled() and not capfd.readouterr().err
        model.save_pretrained(tmp_path)
        assert capfd.readouterr().err, "without it there is a bar"
    finally:
        if not before:
            bars.disable_progress_bar()
