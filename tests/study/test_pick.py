"""Students picked out of a supernet: the search, its costs, and what the command writes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bigfoot.compress.stored_size import count_stored_bytes
from bigfoot.compress.subnet import build_space
from bigfoot.compress.supernet import subnet_shape
from bigfoot.formats.folder import load_model
from bigfoot.measure.part_times import SpeedTable, interpolate, list_parts
from bigfoot.report.pareto import find_pareto_front
from bigfoot.study.front import Candidate, Costs, Limits, Search, choose, find_front
from tests.codes import codes, refusing

SETTINGS = [
    "steps=[student,supernet]", "student.num_hidden_layers=2", "supernet.max_steps=2", "supernet.warmup_steps=1",
    "supernet.eval_every=2", "supernet.checkpoint_every=2", "supernet.width=[1.0]", "supernet.bits=[8,32]",
]  # fmt: skip


@pytest.fixture(scope="module")
def space(build_model):
    shares = {"heads": [0.5], "feed_forward": [0.25, 0.5], "conv": [0.5]}
    return build_space(build_model("base").config, shares, [0.34, 0.67], [8, 32])


@pytest.fixture(scope="module")
def cost(space):
    known = {}

    def count(subnet):
        if subnet.key not in known:
            known[subnet.key] = Costs(count_stored_bytes(subnet_shape(space.config, subnet), subnet.bits))
        return known[subnet.key]

    return count


def error_of(subnet):
    """Falls with all that a subnet has, and a little by chance."""
    units = sum(count for _, count in subnet.counts) + 9 * len(subnet.layers)
    return 20 / units + 0.01 * np.random.default_rng(sum(map(ord, subnet.key))).random()


def test_the_search_keeps_the_limits_and_finds_what_chance_does_not(space, cost):
    largest, smallest = cost(space.largest).size_bytes, cost(space.smallest).size_bytes
    limits = Limits(size_bytes=(largest + smallest) // 2)
    search = Search(space, limits, cost, error_of, seed=3, evaluations=40, population=8)
    found = search.run()
    assert len(found) == 40 == len({each.subnet.key for each in found})
    assert all(each.costs.size_bytes <= limits.size_bytes for each in found)
    first, rest = found[:8], found[8:]
    assert min(each.wer for each in rest) < min(each.wer for each in first)


def test_a_stopped_search_goes_the_same_way(space, cost):
    whole = Search(space, Limits(), cost, error_of, seed=3, evaluations=16, population=6).run()
    asked, known = [], {each.subnet.key: each.wer for each in whole[:9]}

    def remember(subnet):
        if subnet.key not in known:
            asked.append(subnet.key)
            known[subnet.key] = error_of(subnet)
        return known[subnet.key]

    assert Search(space, Limits(), cost, remember, seed=3, evaluations=16, population=6).run() == whole
    assert asked == [each.subnet.key for each in whole[9:]]
    assert Search(space, Limits(), cost, error_of, seed=4, evaluations=16, population=6).run() != whole


def candidates_of(pairs, subnet):
    return [Candidate(subnet(index), Costs(size), wer) for index, (size, wer) in enumerate(pairs)]


@pytest.fixture
def subnet(space):
    drawn = {}

    def draw(index):
        generator = np.random.default_rng(17)
        while len(drawn) <= index:
            each = space.draw(generator)
            drawn[each.key] = each
        return list(drawn.values())[index]

    return draw


def test_what_is_chosen_is_spread_and_holds_the_best(subnet):
    pairs = [(100, 0.5), (110, 0.4), (1000, 0.2), (990, 0.3), (10_000, 0.1), (9_000, 0.15)]
    found = candidates_of(pairs, subnet)
    assert [each.costs.size_bytes for each in choose(found, "size_bytes", 3)] == [10_000, 1000, 110]
    assert [each.wer for each in choose(found, "size_bytes", 1)] == [0.1]
    assert len(choose(found, "size_bytes", 10)) == len(pairs)
    sizes, errors = zip(*pairs, strict=True)
    assert find_front(found, "size_bytes") == find_pareto_front(sizes, errors)


def test_a_point_between_is_between():
    grid = {(x, y): 3 * x + 2 * y + x * y for x in (1, 4) for y in (2, 6, 8)}
    # Linear in each: bilinear interpolation is exact.
    assert interpolate([[1, 4], [2, 6, 8]], grid.__getitem__, [2, 5]) == pytest.approx(3 * 2 + 2 * 5 + 2 * 5)
    assert interpolate([[1, 4], [2, 6, 8]], grid.__getitem__, [9, 1]) == grid[4, 2]


def test_the_table_is_kept_and_adds_up(build_model, tmp_path, monkeypatch):
    """With clocks that count: whole models take what their parts do and one more, and no part is timed twice."""
    shape = build_model("base").config
    axes = {name: [[size] for size in sizes] for name, sizes in list_parts(shape)}
    axes |= {"feed_forward": [[24], [8, 40]], "attention": [[24], [1, 3]]}
    timed = []

    def count(self, run):
        with torch.no_grad():
            run()
        timed.append(run)
        return 1.0 if len(timed) <= 15 else 30.0

    monkeypatch.setattr(SpeedTable, "_time", count)
    table = SpeedTable(shape, axes, tmp_path / "table.json", seconds=0.5)
    table.measure([shape])
    assert len(timed) == 7 + 3 + 4 + 1
    assert table.predict(shape) == pytest.approx(1.0 / 0.5)
    again = SpeedTable(shape, axes, tmp_path / "table.json", seconds=0.5)
    again.measure([shape])
    assert len(timed) == 15 and again.predict(shape) == table.predict(shape)
    other = SpeedTable(shape, axes, tmp_path / "table.json", seconds=0.25)
    other.measure([shape])
    assert len(timed) == 30


@pytest.fixture(scope="module")
def net(narrow_teacher, tmp_path_factory):
    """Run folder of a narrow supernet."""
    from bigfoot.pipeline import run_pipeline
    from bigfoot.pipeline.settings import load_config

    folder = tmp_path_factory.mktemp("supernet")
    more = [f"teacher.path={narrow_teacher}", f"run_dir={folder / 'run'}", "threads=1", "trackers=[]",
            "data.num_train=10", "data.num_dev=3", "data.num_test=2", "data.batch_seconds=20"]  # fmt: skip
    run_pipeline(load_config("demo_config.yaml", [*SETTINGS, *more]), until="supernet")
    return folder / "run"


@pytest.mark.slow
def test_the_command_writes_students_that_every_command_opens(net, bigfoot, tmp_path):
    arguments = ("pick", net, tmp_path / "out", "--count", "3", "--evaluations", "6", "--finetune", "1")
    code, printed, errors = bigfoot(*arguments)
    assert code == 0, errors
    page = json.loads((tmp_path / "out" / "front.json").read_text())
    written = [point for point in page["points"] if point["folder"]]
    assert len(written) == 3 and len(page["points"]) == 6 and (tmp_path / "out" / "front.png").stat().st_size > 0
    for point in written:
        folder = tmp_path / "out" / point["folder"]
        assert (folder / "model.safetensors").stat().st_size == point["size_bytes"]
        loaded = load_model(folder)
        assert [entry["step"] for entry in loaded.history][-3:] == ["pick", "student", "distill"]
        assert bigfoot("summary", folder)[0] == 0 and point["folder"] in printed
    kept = (net / "search.json").read_bytes()
    assert bigfoot(*arguments)[0] == 0 and (net / "search.json").read_bytes() == kept
    int8 = () if loaded.model.config.precision == "int8" else ("--int8", "dynamic")
    assert bigfoot("export", folder, tmp_path / "small.onnx", *int8)[0] == 0
    small = ("data.num_train=1", "data.num_dev=1", "data.num_test=2")
    assert bigfoot("evaluate", folder, "--run-dir", tmp_path, *small)[0] == 0


@pytest.mark.slow
def test_what_no_subnet_keeps_is_refused_with_the_smallest(net, tmp_path):
    from bigfoot.study.pick import PickRequest, open_supernet, pick

    smallest = open_supernet(net).space.smallest
    shape = subnet_shape(open_supernet(net).loaded.model.config, smallest)
    size = count_stored_bytes(shape, smallest.bits)
    with refusing(("--max-size", "below_smallest")):
        pick(PickRequest(net, tmp_path, Limits(size_bytes=size - 1)))
    found = pick(PickRequest(net, tmp_path, Limits(size_bytes=size), evaluations=2))
    assert [each.candidate.subnet.key for each in found.students] == [smallest.key]
    assert load_model(Path(tmp_path) / "student-1").model.config.precision == "int8"


def test_a_run_without_a_supernet_is_refused(tmp_path):
    from bigfoot.errors import ConfigError
    from bigfoot.study.pick import open_supernet

    with pytest.raises(ConfigError) as caught:
        open_supernet(tmp_path)
    assert codes(caught.value.problems) == [("RUN", "no_supernet")]
