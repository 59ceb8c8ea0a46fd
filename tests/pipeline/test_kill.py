"""The distilling run is killed for good, by its command, and given the same command again."""

import random
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch

from bigfoot.models.folder import load_model

pytestmark = pytest.mark.slow
STEPS = 60
SETTINGS = (
    f"distill.max_steps={STEPS}", "distill.checkpoint_every=7", "distill.eval_every=20", "data.augment.speed=[0.9,1.1]",
    "data.augment.noise_probability=0.5", "data.augment.gain_db=[-3,3]", "distill.spec_augment.mask_time_prob=0.2",
    "distill.spec_augment.mask_feature_prob=0.1", "distill.losses.hidden.weight=1", "distill.losses.ctc.weight=0.1",
    "distill.gradient_accumulation_steps=2", "data.num_dev=3", "data.batch_seconds=5",
)  # fmt: skip


@pytest.fixture(scope="module")
def command(small_run):
    def build(run_dir, *more):
        options = ("--config", "demo_config.yaml", "--until", "distill")
        return ["recipes/compress.py", *options, *small_run(run_dir, *SETTINGS, *more)]

    return build


@pytest.fixture(scope="module")
def uninterrupted(command, start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = start(*command(folder))
    assert done.returncode == 0, done.stderr
    return folder


def wait_for(found, process, seconds=600):
    """Look until something is so, or the process ends by itself."""
    began = time.monotonic()
    while process.poll() is None and not found():
        assert time.monotonic() - began < seconds, "the run does not come to the point where it is to be killed"
        time.sleep(0.002)


def kill(process):
    """SIGKILL; true where it met the run alive."""
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def log_of(folder):
    file = folder / "log.txt"
    return file.read_text() if file.exists() else ""


def assert_same_weights(one, two):
    for name in ("best", "last", "model"):
        here, there = (load_model(folder / "distill" / name).model.state_dict() for folder in (one, two))
        assert here.keys() == there.keys()
        assert [key for key in here if not torch.equal(here[key], there[key])] == [], name


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_random_twice_it_ends_in_the_same_bits(workers, uninterrupted, command, start, tmp_path):
    moments, folder = random.Random(20 + workers), tmp_path / "run"
    arguments = command(folder, f"data.num_workers={workers}")
    checkpoint = folder / "distill" / "checkpoint" / "progress.json"
    process = start(*arguments, wait=False)
    wait_for(checkpoint.exists, process)
    time.sleep(moments.uniform(0.0, 0.4))
    assert kill(process), "the run was over before the first kill"
    process = start(*arguments, wait=False)
    wait_for(lambda: "going on from step" in log_of(folder), process)
    time.sleep(moments.uniform(0.0, 0.4))
    assert kill(process), "the run was over before the second kill"
    done = start(*arguments)
    assert done.returncode == 0, done.stderr
    assert log_of(folder).count("going on from step") == 2
    assert_same_weights(uninterrupted, folder)


def test_killed_between_two_batches_it_ends_in_the_same_bits(uninterrupted, command, start, tmp_path):
    folder = tmp_path / "run"
    process = start(*command(folder), wait=False)
    wait_for(lambda: f"distill 24/{STEPS}" in log_of(folder), process)
    assert kill(process)
    done = start(*command(folder))
    assert done.returncode == 0, done.stderr
    begun = int(log_of(folder).split("going on from step ")[1].split()[0])
    # Of an epoch of about six steps: the middle of it, not its end.
    assert begun >= 21 and begun % 7 == 0 and f"distill {begun + 1}/{STEPS}" in done.stdout
    assert_same_weights(uninterrupted, folder)


def limited(size):
    """To be run in the child: files cannot grow beyond so many bytes; the signal is ignored, as Python has it."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def test_a_file_size_limit_leaves_the_last_good_checkpoint(uninterrupted, command, start, tmp_path):
    folder = tmp_path / "run"
    checkpoint = folder / "distill" / "checkpoint"
    process = start(*command(folder), wait=False)
    wait_for((checkpoint / "progress.json").exists, process)
    assert kill(process)
    sizes = sorted((file.stat().st_size for file in checkpoint.iterdir()), reverse=True)
    # Between model and optimizer: the model can be written, the checkpoint cannot.
    done = start(*command(folder), preexec_fn=limited((sizes[0] + sizes[1]) // 2))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "the checkpoint could not be written" in done.stderr and "last good checkpoint" in done.stderr
    assert (checkpoint / "progress.json").exists() and not checkpoint.with_name("checkpoint.tmp").exists()
    done = start(*command(folder))
    assert done.returncode == 0, done.stderr
    assert log_of(folder).count("going on from step") == 2
    assert_same_weights(uninterrupted, folder)


def test_a_model_that_cannot_be_written_is_said_so(command, start, tmp_path):
    done = start(*command(tmp_path / "run", "distill.eval_every=2"), preexec_fn=limited(60_000))
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "error: " in done.stderr and "File too large" in done.stderr


def test_a_file_where_the_checkpoint_should_be(uninterrupted, command, start, tmp_path):
    folder = tmp_path / "run"
    (folder / "distill").mkdir(parents=True)
    (folder / "distill" / "checkpoint").write_text("mine")
    done = start(*command(folder))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "step 7: the checkpoint could not be written" in done.stderr and "is a file" in done.stderr
    (folder / "distill" / "checkpoint").unlink()
    done = start(*command(folder))
    assert done.returncode == 0, done.stderr
    assert_same_weights(uninterrupted, folder)


def test_the_killer_kills():
    """What the tests above stand on: SIGKILL cannot be caught, and is seen in the return code."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert kill(sleeper)
