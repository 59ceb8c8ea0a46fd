"""What tests share that kill a distilling run, or take the ground from under it."""

import signal
import time

import torch

from bigfoot.formats.folder import load_model

STEPS = 28
SETTINGS = (
    f"distill.max_steps={STEPS}", "distill.checkpoint_every=7", "distill.eval_every=20", "data.augment.speed=[0.9,1.1]",
    "data.augment.noise_probability=0.5", "data.augment.gain_db=[-3,3]", "distill.spec_augment.mask_time_prob=0.2",
    "distill.spec_augment.mask_feature_prob=0.1", "distill.losses.hidden.weight=1", "distill.losses.ctc.weight=0.1",
    "distill.gradient_accumulation_steps=2", "data.num_dev=3", "data.batch_seconds=5",
)  # fmt: skip


def wait_for(found, process, seconds=600):
    """Look until something is so, or the process ends by itself."""
    began = time.monotonic()
    while process.poll() is None and not found():
        assert time.monotonic() - began < seconds, "the run does not come to the point where it is to be killed"
        time.sleep(0.005)


def kill(process):
    """SIGKILL; true where it met the run alive."""
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def log_of(folder):
    file = folder / "log.txt"
    return file.read_text() if file.exists() else ""


def assert_same_weights(one, two, step="distill"):
    for name in ("best", "last", "model"):
        here, there = (load_model(folder / step / name).model.state_dict() for folder in (one, two))
        assert here.keys() == there.keys()
        assert [key for key in here if not torch.equal(here[key], there[key])] == [], name
