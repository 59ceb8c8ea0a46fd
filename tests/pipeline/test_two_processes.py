"""Two processes over gloo share the work of a run, and end where one process ends."""

import signal
import socket

import pytest
import torch

from bigfoot.pipeline.facts import SKIPPED
from tests.refusals import names

pytestmark = pytest.mark.slow
# Also where a machine has GPUs.
ON_CPU = {"CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def start_ranks(launch, tmp_path):
    """Start a program as several ranks, as torchrun would; give their exit codes and outputs."""

    def run(count, *arguments):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                  "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
        logs = [(tmp_path / f"rank{rank}.txt").open("w+") for rank in range(count)]
        ranks = [
            launch.start(*arguments, stdout=file, stderr=file,
                         extra=ON_CPU | {name: str(value) for name, value in shared.items()}
                         | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank, file in enumerate(logs)
        ]  # fmt: skip
        try:
            codes = [process.wait(timeout=900) for process in ranks]
        finally:
            for process in ranks:
                process.kill()
            outputs = [(file.seek(0), file.read(), file.close())[1] for file in logs]
        return codes, outputs

    return run


@pytest.fixture
def start_two(start_ranks):
    def run(*arguments):
        codes, outputs = start_ranks(2, *arguments)
        assert codes == [0, 0], "\n".join(output[-3000:] for output in outputs)
        return outputs[0]

    return run


def test_two_processes_share_the_work(launch, start_two, small_run, tmp_path):
    """Data, the teacher's targets, student, distilling and report by two ranks over gloo: losses as of one process."""
    calm = [f"{part}.spec_augment.mask_time_prob=0" for part in ("distill", "finetune")]
    settings = [*calm, "steps=[student,distill]", "distill.losses.hidden.weight=1", "data.batch_seconds=5"]
    recipe, cache = ["recipes/compress.py", "--until", "distill"], tmp_path / "cache"
    cached = small_run(tmp_path / "two", *settings, f"distill.cache={cache}")
    output = start_two(*recipe, *cached)
    assert sum(names(line, cache, "24 utterances") for line in output.splitlines()) == 1
    assert {path.name for path in cache.iterdir()} == {"cache.json", "shard_00000.json", "shard_00000.safetensors"}
    assert output.count("distill: started") == 1
    states = {path.name for path in (tmp_path / "two/distill/checkpoint").glob("random_states_*")}
    assert states == {"random_states_0.pkl", "random_states_1.pkl"}
    again = start_two(*recipe, *cached)
    assert again.count(f"distill: {SKIPPED}") == 1
    two = losses_of(output)
    done = launch.run(*recipe, *small_run(tmp_path / "one", *settings, "distill.gradient_accumulation_steps=2"))
    assert done.returncode == 0, done.stderr
    one = losses_of(done.stdout)
    assert len(two) == 6 and two == pytest.approx(one, rel=0.25), (one, two)


def losses_of(output):
    lines = [line for line in output.splitlines() if line.startswith("distill ") and "  loss " in line]
    return [float(line.split("  loss ")[1].split()[0]) for line in lines]


TRAINING = """
import os, signal, sys, torch
from dataclasses import replace
from pathlib import Path
from bigfoot.data.batches import Batch, training_batches
from bigfoot.distill.objective import Objective
from bigfoot.errors import TrainingError
from bigfoot.formats.folder import load_model
from bigfoot.models.attention import SelfAttention
from bigfoot.pipeline.settings import load_config
from bigfoot.training.loop import Trainer
from bigfoot.training.run import TrainingRun
teacher, manifests, out, accumulated, killed_at, shard = sys.argv[1:]
config = load_config(None, ["distill.max_steps=6", "distill.warmup_steps=0", "distill.log_every=1",
    "distill.checkpoint_every=2", "distill.losses.hidden.weight=1", "data.batch_seconds=5", "data.num_buckets=2",
    "data.augment.speed=[0.9,1.1]", f"distill.gradient_accumulation_steps={accumulated}"])
torch.set_num_threads(1)
student, taught_by = load_model(teacher), load_model(teacher).model.double()
for module in student.model.double().modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
    elif isinstance(module, SelfAttention):
        module.dropout = 0.0
with torch.no_grad():
    for parameter in student.model.parameters():
        parameter *= 0.9
moved = Batch.to
Batch.to = lambda self, device: replace(moved(self, device), input_values=self.input_values.double())
# A batch of the first epoch gives a loss that is no number; from a window of its own, where no other epoch is near.
stream = training_batches(Path(manifests) / "cuts_train.jsonl.gz", student.processor, config.data, 1)
broken = [next(stream) for _ in range(6)][-1].ids
good = Objective.forward
def forward(self, batch, masks):
    terms = good(self, batch, masks)
    bad = batch.ids == broken and batch.position.epoch == 0
    return {name: term._replace(total=term.total * (torch.nan if bad else 1.0)) for name, term in terms.items()}
Objective.forward = forward
rank = int(os.environ.get("RANK", "0"))
step = Trainer._step
def killing(self, stream):
    if self.progress.step == int(killed_at) and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, stream)
Trainer._step = killing
run = TrainingRun("distill", config.distill, config.data, student.processor,
    {name: Path(manifests) / f"cuts_{name}.jsonl.gz" for name in ("train", "dev")}, Path(out), seed=1,
    shard=shard == "shard")
try:
    result = Trainer(Objective(config.distill.losses, student.model, taught_by), run).train()
except TrainingError as error:
    print(type(error.__cause__))
    raise SystemExit(3)
found = {"weights": student.model.state_dict(), "records": result.records, "notes": result.notes}
torch.save(found, f"{out}.{rank}")
"""


def test_killed_resumed_by_other_numbers_of_processes_sharded_or_not_a_training_ends_as_in_one(
    launch, start_ranks, narrow_teacher, small_digits, tmp_path
):
    """Of the same global batch, a window with a broken loss left out, and over the ends of epochs."""
    (tmp_path / "training.py").write_text(TRAINING)
    given, many = [tmp_path / "training.py", narrow_teacher, small_digits.folder], tmp_path / "many"
    done = launch.run(*given, tmp_path / "one", 4, -1, "whole", extra=ON_CPU)
    assert done.returncode == 0, done.stderr[-3000:]
    codes, outputs = start_ranks(2, *given, many, 2, 2, "whole")
    assert codes == [3, -signal.SIGKILL], outputs
    codes, outputs = start_ranks(4, *given, many, 2, 4, "shard")
    assert sorted(codes) == [-signal.SIGKILL, 3, 3, 3], outputs
    done = launch.run(*given, many, 2, -1, "shard", extra=ON_CPU)
    assert done.returncode == 0, done.stderr[-3000:]
    alone, resumed = (torch.load(tmp_path / name) for name in ("one.0", "many.0"))
    losses = [[r["loss"] for r in found["records"] if "loss" in r] for found in (resumed, alone)]
    assert len(losses[0]) == 6 and losses[0] == pytest.approx(losses[1], abs=2e-6)
    for name, tensor in alone["weights"].items():
        torch.testing.assert_close(resumed["weights"][name], tensor, atol=1e-5, rtol=0, msg=name)
    assert [len(found["notes"]) for found in (resumed, alone)] == [1, 1]
    saved = [{p.name.split("_rank_")[0] for p in (tmp_path / name / "bad_batches").glob("*.json")}
             for name in ("one", "many")]  # fmt: skip
    # A process without a broken batch saves its share of the window.
    assert len(saved[0]) == 1 and saved[0] < saved[1]
