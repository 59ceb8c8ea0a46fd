"""Two processes over gloo share the work of a run, and end where one process ends."""

import socket

import pytest
import torch

from bigfoot.pipeline.facts import SKIPPED
from tests.refusals import names

pytestmark = pytest.mark.slow
# accelerate would take the GPUs of a machine that has some.
ON_CPU = {"ACCELERATE_USE_CPU": "true"}


@pytest.fixture
def start_two(launch, tmp_path):
    """Start a program as two ranks, as torchrun would, and give the first one's output."""

    def run(*arguments):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
        logs = [(tmp_path / f"rank{rank}.txt").open("w+") for rank in range(2)]
        ranks = [
            launch.start(*arguments, stdout=file, stderr=file,
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


SHARED = """
import os, sys, torch
from bigfoot.pipeline.settings import load_config
from bigfoot.data.batches import training_batches
from bigfoot.distill.objective import Objective
from bigfoot.models.attention import SelfAttention
from bigfoot.formats.folder import load_model
from bigfoot.training.loop import Trainer
from bigfoot.training.run import TrainingRun
from pathlib import Path
teacher, manifests, out = sys.argv[1:]
config = load_config(None, sys.argv[4:] or ["distill.max_steps=4", "distill.warmup_steps=0", "distill.log_every=1",
    "distill.spec_augment.mask_time_prob=0", "distill.losses.hidden.weight=1", "data.batch_seconds=5",
    "data.num_buckets=2"])
torch.set_num_threads(1)
student, taught_by = load_model(teacher), load_model(teacher).model
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
trainer = Trainer(Objective(config.distill.losses, student.model, taught_by), run)
result = trainer.train()
found = {"weights": student.model.state_dict(), "records": result.records}
assert trainer.accelerator.num_processes == int(ranks)
found["notes"] = result.notes
torch.save(found, f"{out}.{ranks}.{rank}")
"""

# One batch of the second rank gives a loss that is no number.
BREAKING = """
stream = training_batches(run.manifests["train"], run.processor, run.data, run.seed, rank=1, world_size=2)
broken = [next(stream), next(stream)][1].ids
good = Objective.forward
def forward(self, batch, masks):
    terms = good(self, batch, masks)
    bad = batch.ids == broken and batch.position.epoch == 0
    return {name: term._replace(total=term.total * (torch.nan if bad else 1.0)) for name, term in terms.items()}
Objective.forward = forward
trainer = Trainer("""


@pytest.mark.parametrize("broken", [False, True], ids=["all is well", "one batch is left out"])
def test_two_processes_hold_the_weights_of_one(broken, launch, start_two, narrow_teacher, small_digits, tmp_path):
    (tmp_path / "shared.py").write_text(SHARED.replace("trainer = Trainer(", BREAKING) if broken else SHARED)
    arguments = [tmp_path / "shared.py", narrow_teacher, small_digits.folder, tmp_path / "out"]
    start_two(*arguments)
    done = launch.run(*arguments, extra=ON_CPU)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second, alone = (torch.load(f"{tmp_path / 'out'}.{name}") for name in ("2.0", "2.1", "1.0"))
    assert [k for k in first["weights"] if not torch.equal(first["weights"][k], second["weights"][k])] == []
    losses = [[r["loss"] for r in found["records"] if "loss" in r] for found in (first, alone)]
    assert len(losses[0]) == 4 and losses[0] == pytest.approx(losses[1], rel=1e-3)
    for name, tensor in alone["weights"].items():
        # Four steps of Adam move a weight by up to 2e-3; rounding decides where a gradient is nearly nothing.
        assert (tensor - first["weights"][name]).abs().mean() < 2e-5, name
    # The whole window goes, and the rank to blame has saved its batch; the one process is rank 0.
    assert first["notes"] == second["notes"] and [len(first["notes"]), len(alone["notes"])] == [broken, broken]
    saved = {path.name.partition("_rank_")[2] for path in (tmp_path / "out" / "bad_batches").glob("*.json")}
    assert saved == ({"0.json", "1.json"} if broken else set())
