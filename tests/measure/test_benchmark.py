"""Benchmarks of narrow models. No test here says how fast anything is, but for a model that is made to sleep."""

import dataclasses
import json
import time

import pytest

from bigfoot.compress import conv_groups, depth, quantize
from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.measure import benchmark
from bigfoot.measure.benchmark import measure_benchmark
from bigfoot.measure.benchmark_plan import BenchmarkPlan
from bigfoot.measure.peak import PEAK, build_product
from bigfoot.measure.size import PARTS, measure_size
from tests.codes import refusing
from tests.refusals import names, refused


@pytest.fixture(scope="module")
def folders(build_model, processor, tmp_path_factory):
    """A teacher of three layers, a student of one, and one whose convolutions are grouped."""
    root, teacher = tmp_path_factory.mktemp("benchmark"), build_model()
    models = {"teacher": teacher, "shallow": depth.apply(teacher, depth.Depth(num_hidden_layers=1))[0]}
    models["grouped"] = conv_groups.apply(teacher, conv_groups.ConvGroups(2))[0]
    for name, model in models.items():
        save_model(model, processor, root / name)
    return {name: str(root / name) for name in models}


@pytest.fixture(scope="module", autouse=True)
def asked():
    """Neither child processes nor large products; what was asked of the children."""
    requests = []

    def fake_memory(source, seconds, *, batch, threads):
        requests.append((source, seconds, batch, threads))
        return 100_000_000 + len(requests)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "measure_peak_memory", fake_memory)
        patch.setattr(benchmark, "find_peak_product", lambda threads: build_product(32))
        yield requests


@pytest.fixture(scope="module")
def plan(folders):
    sources = (folders["teacher"], folders["grouped"], f"transformers:{folders['shallow']}")
    return BenchmarkPlan(sources, threads=(1, 2), seconds=(0.1, 0.2), batch=(2,), rounds=1)


@pytest.fixture(scope="module")
def measured(plan, asked):
    """The benchmark, how often its bar moved, and what was asked of its children."""
    ticks = []
    found = measure_benchmark(plan, ticks.append)
    return found, len(ticks), list(asked)


@pytest.mark.slow
def test_one_entry_a_model_and_setting(measured, plan):
    found, ticks, asked = measured
    assert ticks == plan.num_ticks
    names = ["teacher", "grouped", "shallow"]
    assert [model.name for model in found.models] == names * 4
    assert [model.runtime for model in found.models[:3]] == ["bigfoot", "bigfoot", "transformers"]
    settings = [(s.threads, s.seconds, s.batch) for s in plan.settings for _ in names]
    assert [(model.threads, model.seconds, model.batch) for model in found.models] == settings
    assert [(peak.threads, peak.seconds, peak.batch) for peak in found.peak] == settings[::3]
    wanted = [(source, s.seconds, s.batch, s.threads) for s in plan.settings for source in plan.sources]
    assert asked == wanted
    assert [model.peak_memory_bytes for model in found.models] == [100_000_001 + i for i in range(12)]
    assert found.in_setting(found.peak[1]) == found.models[3:6]


@pytest.mark.slow
def test_facts_agree_with_each_other(measured, folders):
    for model in measured[0].models:
        assert 0 < model.low_s <= model.median_s <= model.high_s
        assert 0 < model.speedup_low <= model.speedup_over_first <= model.speedup_high
        assert model.real_time_factor == pytest.approx(model.median_s / model.seconds / model.batch)
        own = measure_size(load_model(folders[model.name]).model, None, model.seconds)
        assert (model.macs_per_second, model.num_unique_params) == (own.macs_per_second, own.num_unique_params)
        assert model.size_bytes > 4 * model.num_unique_params and model.share_of_peak > 0
        assert tuple(model.by_part) == PARTS
        assert {part: facts.macs_per_second for part, facts in model.by_part.items()} == own.macs_by_part
        assert sum(facts.time_share for facts in model.by_part.values()) == pytest.approx(1)
        assert (model.part_to_blame is None) == (model.verdict is None)
        if model.name == "teacher":
            assert model.speedup_over_first == model.speedup_low == model.speedup_high == 1.0
            assert model.verdict is None


@pytest.mark.slow
def test_as_json(measured):
    found = measured[0]
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(plain) == {"models", "peak", "machine", "notes", "rounds"}
    assert set(plain["models"][0]["by_part"]["conv"]) >= {"median_s", "macs_per_second", "share_of_peak"}
    assert plain["machine"]["processors"] >= 1 and plain["rounds"] == 1
    assert all(model["verdict"] in plain["notes"] for model in plain["models"] if model["verdict"])


@pytest.mark.slow
def test_figures_by_hand(folders, monkeypatch):
    # The machine is half as fast in the third round, for models and product alike.
    times = {PEAK: [1.0, 1.0, 2.0], "teacher": [4.0, 4.0, 8.0], "shallow": [2.0, 1.0, 4.0]}
    monkeypatch.setattr(benchmark, "time_rounds", lambda passes, rounds, on_round: times)
    plan = BenchmarkPlan((folders["teacher"], folders["shallow"]), seconds=(0.5,), batch=(4,), rounds=3)
    found = measure_benchmark(plan)
    teacher, shallow = found.models
    assert (shallow.median_s, shallow.low_s, shallow.high_s) == (2.0, 1.5, 3.0)
    assert (shallow.speedup_over_first, shallow.speedup_low, shallow.speedup_high) == (2.0, 2.0, 3.0)
    assert shallow.real_time_factor == 1.0
    # Two seconds of audio in four seconds, where the machine multiplies 32 x 32 in one.
    assert teacher.share_of_peak == pytest.approx(teacher.macs_per_second * 2 / 4 / 32**3)
    assert found.peak[0].macs_per_second_of_computing == 32**3
    assert any(names(note, "busy", "teacher") for note in found.notes)


@pytest.mark.slow
def test_a_model_against_itself_is_as_fast_within_its_own_spread(folders):
    found = measure_benchmark(BenchmarkPlan((folders["teacher"],) * 2, seconds=(0.1,), rounds=61))
    itself = found.models[1]
    assert itself.name == "teacher#2"
    spread = itself.speedup_high - itself.speedup_low
    assert itself.speedup_over_first - spread <= 1.0 <= itself.speedup_over_first + spread
    assert itself.verdict is None, "it is not smaller"
    assert any(names(note, "teacher and teacher#2") for note in found.notes)


@pytest.mark.slow
@pytest.mark.parametrize("slow", ["conv", "transformer", None])
def test_a_smaller_model_that_is_not_faster_is_reported(slow, folders, monkeypatch):
    """A planted fault: the student falls asleep in one of its parts."""
    original = benchmark.open_runnable
    student = folders["shallow"]

    def open_sleepy(source):
        opened = original(source)
        sleeper = "teacher" if slow is None else "shallow"
        base = opened.model.base_model
        module = base.feature_extractor.conv_layers[2] if slow == "conv" else base.encoder.layers[0]
        if source == folders[sleeper]:
            module.register_forward_hook(lambda *_: time.sleep(0.1))
        return opened

    monkeypatch.setattr(benchmark, "open_runnable", open_sleepy)
    found = measure_benchmark(BenchmarkPlan((folders["teacher"], student), seconds=(0.1,), rounds=3))
    given = [note for note in found.notes if note.startswith("shallow is")]
    assert found.models[1].part_to_blame == slow
    assert len(given) == (slow is not None)
    for note in given:
        assert names(note, "1", "0.1")
        assert names(note, slow)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "low", "given"), [(99, 1.0, True), (99, 1.001, False), (100, 0.5, False), (101, 0.5, False)]
)
def test_when_a_verdict_is_due(measured, params, low, given):
    first = dataclasses.replace(measured[0].models[0], num_unique_params=100)
    own = dataclasses.replace(first, name="own", num_unique_params=params, speedup_low=low)
    assert (benchmark._judge(first, own).verdict is not None) == given


def test_audio_shorter_than_a_frame_is_refused_before_anything_runs(folders, asked):
    before, plan = len(asked), BenchmarkPlan((folders["teacher"], folders["shallow"]), seconds=(0.02, 1.0, 0.0249))
    with refusing(*[("--seconds", "too_short")] * 4):
        measure_benchmark(plan)
    assert len(asked) == before


def test_a_shape_that_transformers_cannot_run(folders):
    with refused(ModelError, "conv_groups"):
        measure_benchmark(BenchmarkPlan((folders["teacher"], f"transformers:{folders['grouped']}")))


@pytest.mark.slow
def test_a_folder_that_rounds_in_pytorch_says_where_the_speed_is(folders, processor, tmp_path):
    small, _ = quantize.apply(load_model(folders["shallow"]).model, quantize.Quantize("int8_dynamic"))
    save_model(small, processor, tmp_path / "small")
    found = measure_benchmark(BenchmarkPlan((str(tmp_path / "small"),), seconds=(0.1,), rounds=1))
    assert any(names(note, "small", "int8", "bigfoot export") for note in found.notes)
    assert not any(names(note, "int8") for note in measure_benchmark(
        BenchmarkPlan((folders["shallow"],), seconds=(0.1,), rounds=1)).notes)  # fmt: skip
