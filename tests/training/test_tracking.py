"""Trackers, each for real and without a network, and how fast a training goes."""

import itertools

import pytest
import torch
from accelerate import PartialState

from bigfoot.measure.size import measure_size
from bigfoot.training import pace, tracking
from bigfoot.training.pace import Pace, Peak, count_step_flops, find_peak
from bigfoot.training.tracking import Tracked, Tracking

SETTINGS = {"learning_rate": 0.001, "spec_augment": {"mask_time_prob": 0.5}, "betas": [0.9, 0.98], "patience": None}
CURVE = {1: 3.0, 2: 2.5, 4: 0.125}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No account of any tracker, and a home without settings."""
    PartialState()
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "COMET_API_KEY", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def read_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard" / "distill")).Reload()
    return {event.step: event.value for event in events.Scalars("loss")}


def read_mlflow(folder):
    import mlflow

    (run,) = mlflow.search_runs(experiment_names=[tracking.PROJECT], output_format="list")
    assert run.data.params["spec_augment.mask_time_prob"] == "0.5" and run.info.run_name == "r/distill"
    client = mlflow.MlflowClient()
    assert (folder / "mlruns").is_dir()
    return {point.step: point.value for point in client.get_metric_history(run.info.run_id, "loss")}


def read_wandb(folder):
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # ends the process that writes
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, place, found = file.read_bytes(), 7, {}
    # LevelDB's log: checksum, length and kind, then the record; none of these here is longer than a block of 32 KiB.
    while place + 7 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 6], "little")
        record = wandb_internal_pb2.Record.FromString(data[place + 7 : place + 7 + size])
        place += 7 + size
        points = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
        if "loss" in points:
            found[record.history.step.num] = float(points["loss"])
    return found


def read_comet(folder):
    import json
    import zipfile

    (file,) = folder.glob("comet/*.zip")
    with zipfile.ZipFile(file) as archive:
        lines = [json.loads(line) for line in archive.read("messages.json").splitlines()]
    points = [line["payload"]["metric"] for line in lines if line.get("type") == "metric_msg"]
    return {point["step"]: float(point["metricValue"]) for point in points if point["metricName"] == "loss"}


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "read"),
    [("tensorboard", read_tensorboard), ("wandb", read_wandb), ("mlflow", read_mlflow), ("comet_ml", read_comet)],
)
def test_a_tracker_keeps_the_curve_below_the_run_folder(name, read, tmp_path, caplog, monkeypatch):
    pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.setattr(tracking.log, "propagate", True)
    tracked = Tracking([name], Tracked("distill", tmp_path / "r", SETTINGS), is_main=True)
    for step, value in CURVE.items():
        tracked.log({"loss": value, "dev_wer": None}, step)
    tracked.finish()
    # Their own libraries may report that there is no network.
    assert read(tmp_path / "r") == CURVE and not [r for r in caplog.records if r.name == "bigfoot"]


def test_a_tracker_that_fails_is_left_out_and_named_once(tmp_path, caplog, monkeypatch):
    class Broken:
        def start(self):
            pass

        def store_init_configuration(self, values):
            assert values["spec_augment.mask_time_prob"] == 0.5

        def log(self, values, step):
            raise ConnectionError("no network")

    monkeypatch.setattr(tracking.log, "propagate", True)
    monkeypatch.setitem(tracking._BUILDERS, "wandb", lambda tracked: Broken())
    tracked = Tracking(["wandb", "tensorboard"], Tracked("distill", tmp_path, SETTINGS), is_main=True)
    for step, value in CURVE.items():
        tracked.log({"loss": value}, step)
    tracked.finish()
    assert read_tensorboard(tmp_path) == CURVE
    assert [record.args[0] for record in caplog.records] == ["wandb"]
    assert Tracking(["wandb"], Tracked("distill", tmp_path, {}), is_main=False)._trackers == {}


def test_pace_counts_audio_waiting_and_the_share_of_the_peak(monkeypatch):
    clock = itertools.count(step=0.5)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: next(clock))
    timed = Pace(torch.device("cpu"), 4, lambda: 3e6, lambda: Peak(1e9, "as given"))
    assert timed.wait(iter("a")) == "a"
    timed.add(10.0, 2.0)
    found = timed.take()
    assert found["memory_gb"] > 0.01 and "model_flops_utilisation" not in found
    assert (found["audio_seconds_per_second"], found["data_wait"]) == (20.0, 0.25)
    timed.add(100.0, 8.0)
    found = timed.take()
    assert (found["audio_seconds_per_second"], found["data_wait"]) == (50.0, 0.0)
    assert found["model_flops_utilisation"] == pytest.approx(50 * 3e6 / 4e9)
    assert timed.take()["audio_seconds_per_second"] == 0.0


def test_operations_of_a_step_are_three_passes_of_the_student_and_one_of_each_teacher(build_model):
    student, teacher = build_model("base", seed=1, num_hidden_layers=1), build_model("base", seed=2)
    once, more = (2 * measure_size(model).macs_per_second for model in (student, teacher))
    assert count_step_flops(student, [teacher, teacher]) == pytest.approx(3 * once + 2 * more, rel=1e-6)
    assert count_step_flops(torch.nn.Linear(2, 2), []) is None
    assert count_step_flops(student.double(), []) is None
    assert find_peak("distill", torch.device("cpu"), "no", 2.5).flops == 2.5e12
    assert find_peak("distill", torch.device("cpu"), "no", 0.0).flops > 1e8
