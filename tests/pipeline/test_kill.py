"""The distilling run is killed for good, by its command, and given the same command again."""

import random
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch

from bigfoot.models.folder import load_model

pytestmark = pytest.mark.slow
STEPS = 60
# accelerate would take the GPUs of a machine that has some.
ON_CPU = {"ACCELERATE_USE_CPU": "true"}
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


@pytest.fixture
def start_two(start, tmp_path):
    """Start a program as two ranks, as torchrun would, and give the first one's output."""

    def run(*arguments):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
        logs = [(tmp_path / f"rank{rank}.txt").open("w+") for rank in range(2)]
        ranks = [
            start(*arguments, wait=False, stdout=file, stderr=subprocess.STDOUT,
                  extra=ON_CPU | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank, file in enumerate(logs)
        ]  # fmt: skip
        try:
            codes = [process.wait(timeout=900) for process in ranks]
        finally:
            for process in ranks:
                process.kill()
            outputs = [(file.seek(0), file.read(), file.close())[1] for file in logs]
        assert codes == [0, 0], "\n".join(output[-3000:] for output in outputs)
        return outputs[0]

    return run


def test_two_processes_share_the_work(start, start_two, small_run, tmp_path):
    """Data, student, distilling and report by two ranks over gloo: the last step's losses are those of one process."""
    calm = [f"{part}.spec_augment.mask_time_prob=0" for part in ("distill", "finetune")]
    settings = [*calm, "steps=[student,distill]", "distill.losses.hidden.weight=1", "data.batch_seconds=5"]
    recipe = ["recipes/compress.py", "--until", "distill"]
    output = start_two(*recipe, *small_run(tmp_path / "two", *settings))
    assert output.count("distill: begins") == 1
    states = {path.name for path in (tmp_path / "two/distill/checkpoint").glob("random_states_*")}
    assert states == {"random_states_0.pkl", "random_states_1.pkl"}
    again = start_two(*recipe, *small_run(tmp_path / "two", *settings))
    assert again.count("distill: nothing has changed, skipped") == 1
    two = losses_of(output)
    done = start(*recipe, *small_run(tmp_path / "one", *settings, "distill.gradient_accumulation_steps=2"))
    assert done.returncode == 0, done.stderr
    one = losses_of(done.stdout)
    assert len(two) == 6 and two == pytest.approx(one, rel=0.25), (one, two)


def losses_of(output):
    lines = [line for line in output.splitlines() if line.startswith("distill ") and "  loss " in line]
    return [float(line.split("  loss ")[1].split()[0]) for line in lines]


SHARED = """
import os, sys, torch
from bigfoot.config import load_config
from bigfoot.data.batches import training_batches
from bigfoot.distill.objective import Objective
from bigfoot.models.attention import SelfAttention
from bigfoot.models.folder import load_model
from bigfoot.training.loop import Trainer, TrainingRun
from pathlib import Path
teacher, manifests, out = sys.argv[1:]
config = load_config(None, sys.argv[4:] or ["distill.max_steps=4", "distill.warmup_steps=0", "distill.log_every=1",
    "distill.spec_augment.mask_time_prob=0", "distill.losses.hidden.weight=1", "data.batch_seconds=5",
    "data.num_buckets=2"])
torch.set_num_threads(1)
student, told = load_model(teacher), load_model(teacher).model
for module in student.model.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
    elif isinstance(module, SelfAttention):
        module.dropout = 0.0
with torch.no_grad():
    for parameter in student.model.parameters():
        parameter *= 0.9
rank, ranks = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
if ranks == "1":
    # A window of the two batches that two ranks would get.
    config.distill.gradient_accumulation_steps = 2
    def stream(self):
        both = [training_batches(self.run.manifests["train"], self.run.processor, self.run.data, self.run.seed,
            rank=rank, world_size=2) for rank in range(2)]
        return (batch for pair in zip(*both) for batch in pair)
    Trainer._stream = stream
run = TrainingRun("distill", config.distill, config.data, student.processor,
    {name: Path(manifests) / f"cuts_{name}.jsonl.gz" for name in ("train", "dev")}, Path(out), seed=1)
trainer = Trainer(Objective(config.distill.losses, student.model, told), run)
result = trainer.train()
found = {"weights": student.model.state_dict(), "records": result.records}
assert trainer.accelerator.num_processes == int(ranks)
torch.save(found, f"{out}.{ranks}.{rank}")
"""


def test_two_processes_hold_the_weights_of_one(start, start_two, narrow_teacher, small_digits, tmp_path):
    (tmp_path / "shared.py").write_text(SHARED)
    arguments = [tmp_path / "shared.py", narrow_teacher, small_digits.folder, tmp_path / "out"]
    start_two(*arguments)
    done = start(*arguments, extra=ON_CPU)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second, alone = (torch.load(f"{tmp_path / 'out'}.{name}") for name in ("2.0", "2.1", "1.0"))
    assert [k for k in first["weights"] if not torch.equal(first["weights"][k], second["weights"][k])] == []
    losses = [[r["loss"] for r in found["records"] if "loss" in r] for found in (first, alone)]
    assert len(losses[0]) == 4 and losses[0] == pytest.approx(losses[1], rel=1e-3)
    for name, tensor in alone["weights"].items():
        # Four steps of Adam move a weight by up to 2e-3; rounding decides where a gradient is nearly nothing.
        assert (tensor - first["weights"][name]).abs().mean() < 2e-5, name


def test_the_killer_kills():
    """What the tests above stand on: SIGKILL cannot be caught, and is seen in the return code."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert kill(sleeper)
