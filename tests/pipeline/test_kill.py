"""The training run is killed for good, by its command, and given the same command again."""

import json
import random
import subprocess
import sys
import time

import pytest

from bigfoot.training.loop import RESUMING
from tests.pipeline.killing import STEPS, assert_same_weights, kill, log_of, wait_for

pytestmark = pytest.mark.slow


def test_killed_at_random_twice_it_ends_in_the_same_bits(uninterrupted, command, launch, tmp_path):
    moments, folder = random.Random(22), tmp_path / "run"
    arguments = command(folder, "data.num_workers=2")
    checkpoint = folder / "distill" / "checkpoint" / "progress.json"
    process = launch.start(*arguments)
    wait_for(checkpoint.exists, process)
    time.sleep(moments.uniform(0.0, 0.4))
    assert kill(process), "the run was over before the first kill"
    process = launch.start(*arguments)
    wait_for(lambda: RESUMING in log_of(folder), process)
    time.sleep(moments.uniform(0.0, 0.4))
    assert kill(process), "the run was over before the second kill"
    done = launch.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert log_of(folder).count(RESUMING) == 2
    assert_same_weights(uninterrupted, folder)


def test_killed_between_two_batches_it_ends_in_the_same_bits(uninterrupted, command, launch, tmp_path):
    folder = tmp_path / "run"
    process = launch.start(*command(folder))
    wait_for(lambda: f"distill 17/{STEPS}" in log_of(folder), process)
    assert kill(process)
    done = launch.run(*command(folder))
    assert done.returncode == 0, done.stderr
    begun = int(log_of(folder).split(RESUMING)[1].split()[0])
    # Of an epoch of about six steps: the middle of it, not its end.
    assert begun >= 14 and begun % 7 == 0 and f"distill {begun + 1}/{STEPS}" in done.stdout
    assert_same_weights(uninterrupted, folder)


def test_killed_while_gates_learn_it_ends_in_the_same_bits(command, launch, tmp_path):
    settings = ("steps=[gates,distill]", "gates.max_steps=14", "gates.checkpoint_every=3", "gates.eval_every=7",
                "gates.log_every=1", "gates.sparsity_warmup_steps=10", "gates.gate_learning_rate=0.5",
                "gates.parts=[heads,feed_forward,blocks]", "distill.max_steps=1")  # fmt: skip
    whole, folder = tmp_path / "whole", tmp_path / "run"
    done = launch.run(*command(whole, *settings))
    assert done.returncode == 0, done.stderr
    process = launch.start(*command(folder, *settings))
    wait_for(lambda: "gates 8/14" in log_of(folder), process)
    assert kill(process)
    done = launch.run(*command(folder, *settings))
    assert done.returncode == 0, done.stderr
    begun = int(log_of(folder).split(RESUMING)[1].split()[0])
    assert begun % 3 == 0 and 6 <= begun < 14 and f"gates {begun + 1}/14" in done.stdout
    assert_same_weights(whole, folder, "gates")
    sizes = [json.loads((each / "gates" / "facts.json").read_text())["changes"] for each in (whole, folder)]
    assert sizes[0] == sizes[1] and "parameters" in sizes[0][0]


def test_the_killer_kills():
    """What the tests above stand on: SIGKILL cannot be caught, and is seen in the return code."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert kill(sleeper)
