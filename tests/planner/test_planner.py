"""The planner: budgets, ladders of students, what is measured and what is expected."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.errors import ConfigError, OutputError
from bigfoot.export.onnx import build_onnx
from bigfoot.formats.folder import LoadedModel, outline_model, save_model
from bigfoot.measure.size import count_params, measure_size
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.pipeline.plan import resolve_plan
from bigfoot.pipeline.settings import load_config
from bigfoot.planner.budget import Budget, read_size
from bigfoot.planner.expected import expect_points
from bigfoot.planner.known import KNOWN_ROWS, KnownRow
from bigfoot.planner.ladders import LADDERS, Candidate, Counted, count, list_candidates
from bigfoot.planner.measured import RUNTIMES, Bench, draw_model
from bigfoot.planner.own_rows import read_own_rows
from bigfoot.planner.propose import Proposal, propose
from bigfoot.planner.written import Plan, save_plan
from bigfoot.report.rows import Report, Row
from bigfoot.report.writer import save_report

METHODS = Path(__file__).resolve().parents[2] / "docs" / "results"


@pytest.fixture(scope="module")
def teacher() -> BigfootConfig:
    """Narrow, three layers."""
    return BigfootConfig(
        num_hidden_layers=3, hidden_size=32, num_attention_heads=4, intermediate_size=64, conv_dim=[16] * 7,
        num_conv_pos_embedding_groups=4, vocab_size=13,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Bench:
    """As short as a measurement can be."""
    return Bench("onnx", outline_model("tiny_teacher").processor, seconds=0.5, rounds=1)


@pytest.fixture(scope="module")
def ladders(teacher: BigfootConfig) -> dict[str, list[Counted]]:
    """All students of the teacher."""
    return list_candidates(teacher, list(LADDERS))


@given(st.floats(0.01, 900), st.sampled_from([("KB", 1e3), ("mb", 1e6), ("GiB", 2**30), ("", 1), (" MiB", 2**20)]))
def test_a_size_is_its_number_times_its_unit(number: float, unit: tuple[str, float]) -> None:
    """Rounded to bytes."""
    name, factor = unit
    wanted = round(float(f"{number:.3f}") * factor)
    if wanted > 0:
        assert read_size(f"{number:.3f}{name}") == wanted


@pytest.mark.parametrize("text", ["0MB", "many", "-3MB", "3 parsec", "", "1e6MB", "nan"])
def test_no_size(text: str) -> None:
    """Refused by its code."""
    with pytest.raises(ConfigError) as caught:
        read_size(text)
    assert [problem.code for problem in caught.value.problems] == ["bad_size"]


@given(st.lists(st.tuples(st.floats(1.1, 30), st.floats(-2, 90)), min_size=3, max_size=8), st.floats(1.01, 50))
@settings(max_examples=25)
def test_the_slope_is_least_squares_through_the_origin(pairs: list[tuple[float, float]], cut: float) -> None:
    """Against numpy's own solver; the interval has an end on either side of something that was measured or more."""
    rows = [KnownRow("", ratio, points, points - 1, points + 1, "") for ratio, points in pairs]
    expected = expect_points(rows, cut)
    logs = np.log2([[ratio] for ratio, _ in pairs])
    slope = np.linalg.lstsq(logs, np.array([points for _, points in pairs]), rcond=None)[0][0]
    assert expected.points == pytest.approx(slope * math.log2(cut), abs=1e-5)
    assert expected.low <= expected.high and expected.beyond == (cut > max(ratio for ratio, _ in pairs))
    assert expected == expect_points(rows, cut)


def test_the_interval_holds_most_of_what_was_measured() -> None:
    """Nine of ten rows or more, each by the regression over the others."""
    inside = 0
    for row in KNOWN_ROWS:
        expected = expect_points([other for other in KNOWN_ROWS if other is not row], row.times_fewer_macs)
        inside += expected.low <= row.points <= expected.high
    assert inside >= 0.9 * len(KNOWN_ROWS)


@pytest.mark.parametrize("row", KNOWN_ROWS, ids=lambda row: row.name)
def test_a_known_row_stands_in_the_results(row: KnownRow) -> None:
    """Its points with their interval."""
    texts = "".join((METHODS / name).read_text(encoding="utf-8") for name in ("methods.md", "demo-and-fsdd.md"))
    plain = re.sub(r" points", "", texts)
    assert f"{row.points:+.2f} [{row.low:+.2f}, {row.high:+.2f}]" in plain


def test_a_ladder_goes_down(ladders: dict[str, list[Counted]]) -> None:
    """int8 changes no count; every student costs less than the teacher and is counted as a model of its shape is."""
    for kind, ladder in LADDERS.items():
        macs = [each.macs for each in ladders[kind]]
        assert len(macs) > 4 and macs == sorted(macs, reverse=True)
        assert {each.candidate.int8 for each in ladders[kind]} == {ladder.int8}
    assert [each.macs for each in ladders["thin"]] == [each.macs for each in ladders["thin_int8"]]
    for counted in (ladders["depth"][2], ladders["thin"][-1]):
        model = BigfootForCTC(counted.candidate.shape)
        assert (counted.num_params, counted.macs) == (count_params(model), measure_size(model).macs_per_second)


def test_settings_make_the_shape(ladders: dict[str, list[Counted]], teacher: BigfootConfig, tmp_path: Path) -> None:
    """As the pipeline resolves them, from a YAML file."""
    folder = tmp_path / "teacher"
    processor = outline_model("tiny_teacher").processor
    save_model(draw_model(teacher), processor, folder)
    for counted in (ladders["depth"][0], ladders["depth"][-1], ladders["thin"][0], ladders["thin"][-1]):
        path = tmp_path / "student.yaml"
        path.write_text(yaml.safe_dump({"teacher": {"path": str(folder)}, "student": dict(counted.candidate.student)}))
        models = resolve_plan(load_config(path)).models
        assert models is not None and not models.student_problems
        shapes = (models.student, counted.candidate.shape)
        made = [{**shape.to_dict(), "dtype": None, "conv_groups": shape.groups_of_convs} for shape in shapes]
        assert made[0] == made[1]


def test_the_most_that_fits(teacher: BigfootConfig, bench: Bench, ladders: dict[str, list[Counted]]) -> None:
    """Within the bytes of its real file, where the next costlier student of its kind has more."""
    limit = 160_000
    found = {each.name: each for each in propose(teacher, Budget(max_bytes=limit), bench, KNOWN_ROWS)}
    assert len(found) == 3
    for name, proposal in found.items():
        assert proposal.num_bytes <= limit
        rungs = ladders[name]
        costlier = [each for each in rungs if each.macs > proposal.counted.macs]
        assert all(bench.open(each.candidate).num_bytes > limit for each in costlier[-2:])
    fp32 = next(each for each in found.values() if not each.counted.candidate.int8)
    loaded = LoadedModel(draw_model(fp32.counted.candidate.shape), bench.processor)
    assert fp32.num_bytes == len(build_onnx(loaded).graph.SerializeToString())


def test_a_limit_of_macs(teacher: BigfootConfig, bench: Bench, ladders: dict[str, list[Counted]]) -> None:
    """Exactly the first rung of each kind below it; the lowest expected error comes first."""
    limit = ladders["thin"][3].macs
    found = propose(teacher, Budget(max_macs=limit), bench, KNOWN_ROWS)
    for proposal in found:
        first = next(each for each in ladders[proposal.name] if each.macs <= limit)
        assert proposal.counted.candidate.student == first.candidate.student
        assert proposal.times_fewer_macs == pytest.approx(count(Candidate("", {}, teacher)).macs / first.macs)
    assert [each.expected.points for each in found] == sorted(each.expected.points for each in found)


def test_a_limit_of_time_is_found_by_bisection(teacher: BigfootConfig, ladders: dict[str, list[Counted]]) -> None:
    """On a machine whose time is the multiply-accumulates themselves: the first that is fast enough."""

    class Exact(Bench):
        """Times that no other work disturbs; only a stand-in has them."""

        def time(self, opened, on_round=lambda: None):
            return {name: [each.macs * self.seconds / 1e9] * self.rounds for name, each in opened.items()}

        def open(self, candidate):
            opened = count(candidate)
            opened_ones.append(candidate)
            return type("Opened", (), {"macs": opened.macs, "num_bytes": 1})()

    opened_ones: list[Candidate] = []
    limit = (ladders["depth"][3].macs + 1) / 1e9
    exact = Exact("pytorch", outline_model("tiny_teacher").processor)
    found = propose(teacher, Budget(max_rtf=limit), exact, KNOWN_ROWS)
    assert {each.name for each in found} == {"depth", "thin"}
    for each in found:
        first = next(rung for rung in ladders[each.name] if rung.macs <= limit * 1e9)
        assert each.counted.candidate.student == first.candidate.student
        assert each.speed.rtf == pytest.approx(each.counted.macs / 1e9)
    assert len(opened_ones) < 2 * math.ceil(math.log2(max(map(len, ladders.values())) + 1)) + 4


@pytest.mark.parametrize(
    ("budget", "key"), [(Budget(max_bytes=10), "--max-size"), (Budget(max_macs=5), "--max-macs")]
)
def test_out_of_reach(teacher: BigfootConfig, bench: Bench, budget: Budget, key: str) -> None:
    """The limit is named, with what can be reached."""
    with pytest.raises(ConfigError) as caught:
        propose(teacher, budget, bench, KNOWN_ROWS)
    (problem,) = caught.value.problems
    assert (problem.key, problem.code) == (key, "out_of_reach")


@pytest.mark.parametrize("runtime", sorted(RUNTIMES))
def test_runtimes(teacher: BigfootConfig, bench: Bench, runtime: str) -> None:
    """Each opens and times fp32, and int8 where it has it, in fewer bytes."""
    if runtime == "openvino":
        pytest.importorskip("openvino")
    own = Bench(runtime, bench.processor, seconds=0.5, rounds=1)
    kinds = [False, True] if RUNTIMES[runtime].int8 else [False]
    opened = {str(int8): own.open(Candidate("", {}, teacher, int8)) for int8 in kinds}
    assert all(own.summarize(times).rtf > 0 for times in own.time(opened).values())
    assert runtime != "onnx" or opened["True"].num_bytes < opened["False"].num_bytes


def test_own_rows(tmp_path: Path) -> None:
    """The last trained model of each run, on test, greedy; two are too few."""
    for index in range(3):
        rows = [Row("teacher", "teacher", "test", macs_per_second=800)]
        for step, macs in (("distill", 400), ("finetune", 200), ("ctc_only_finetune", 100)):
            rows.append(Row(step, step, "test", macs_per_second=macs, wer_difference=0.01 * index,
                            wer_difference_low=-0.01, wer_difference_high=0.05))  # fmt: skip
        save_report(Report("run", rows), tmp_path / str(index) / "report")
    found = read_own_rows([str(tmp_path / str(index)) for index in range(3)])
    assert [(row.name, row.times_fewer_macs, row.points, row.low, row.high) for row in found] == [
        ("finetune", 4.0, pytest.approx(index), -1.0, 5.0) for index in range(3)
    ]
    with pytest.raises(ConfigError) as caught:
        read_own_rows([str(tmp_path / "0"), str(tmp_path / "1")])
    assert [problem.code for problem in caught.value.problems] == ["too_few"]


@pytest.fixture(scope="module")
def proposals(teacher: BigfootConfig, bench: Bench) -> list[Proposal]:
    """Within a size."""
    return propose(teacher, Budget(max_bytes=160_000), bench, KNOWN_ROWS)


def test_a_plan_replaces_an_earlier_one_alone(proposals: list[Proposal], bench: Bench, tmp_path: Path) -> None:
    """Files of students that are no longer proposed go; a file that its user changed stays, and the plan is refused."""
    folder = tmp_path / "plan"
    plan = Plan("tiny_teacher", 1, Budget(max_bytes=160_000), bench, "cpu", "demo_config.yaml", KNOWN_ROWS, proposals)
    written = save_plan(plan, folder)
    fewer = Plan("tiny_teacher", 1, plan.budget, bench, "cpu", "demo_config.yaml", KNOWN_ROWS, proposals[:1])
    assert save_plan(fewer, folder) == written[:1]
    assert {path.name for path in folder.glob("*.yaml")} == {written[0].name}
    written[0].write_text("student: {num_hidden_layers: 1}")
    with pytest.raises(OutputError):
        save_plan(plan, folder)
