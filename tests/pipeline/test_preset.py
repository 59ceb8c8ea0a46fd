"""Every method's YAML: no key is wrong, its student has the published count, and a small one of it can be made."""

import json

import pytest

from bigfoot.config import CONFIG_FOLDER
from bigfoot.distill.objective import objective_problems
from bigfoot.errors import ModelError
from bigfoot.measure.size import count_params
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.pipeline.preset import summarize_preset
from bigfoot.pipeline.settings import load_config, read_config
from bigfoot.pipeline.student_shape import resolve_student
from tests.codes import refusing
from tests.refusals import names

pytestmark = pytest.mark.grid

METHODS = sorted(path.stem for path in (CONFIG_FOLDER / "methods").glob("*.yaml"))
PAGE = CONFIG_FOLDER.parents[1] / "docs" / "explanation" / "methods.md"
# Millions as the papers print them, and how near ours must come.
PRINTED = {
    "distilhubert": (23.49, 1e-3), "fithubert": (22.49, 1e-3), "maskhubert": (26.64, 1e-3),
    "armhubert": (26.45, 1e-3), "armhubert_s": (22.39, 1e-3), "starhubert": (22.31, 1e-3),
    "starhubert_l": (26.63, 1e-3), "lighthubert_small": (27.0, 5e-3), "fitw2v2": (31.63, 1e-3),
    "dphubert": (23.585946, 1e-3), "dpwavlm": (23.586325, 1e-3),
}  # fmt: skip
# To the last parameter, where it is known.
EXACT = {"fithubert": 22_492_544, "fitw2v2": 31_630_112, "maskhubert": 26_635_840, "armhubert": 26_448_448,
         "armhubert_s": 22_394_080, "starhubert": 22_309_024, "starhubert_l": 26_631_232}  # fmt: skip
# Whose shape is found while it is trained: what it aims at, and before what it begins with.
TARGETS = {"dphubert": (94_371_712, 0.25), "dpwavlm": (94_381_936, 0.25), "torch_pruning_taylor": (94_396_320, 0.63**3)}


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    return request.param, summarize_preset(f"methods/{request.param}.yaml")


@pytest.mark.slow
def test_no_key_is_wrong_and_the_command_stands_on_top(method):
    name, _ = method
    _, problems = read_config(f"methods/{name}.yaml")
    assert problems == []
    head = (CONFIG_FOLDER / "methods" / f"{name}.yaml").read_text().splitlines()
    assert head[0].startswith(f"# bigfoot compress --config methods/{name}.yaml")
    assert "ublished" in " ".join(head[2:8])


def test_its_losses_can_be_computed(method):
    config = load_config(f"methods/{method[0]}.yaml")
    shape = BigfootConfig(ctc_head=config.teacher.path.endswith("960h"))
    student = resolve_student(config, shape).shape if "student" in config.steps else shape
    for step in {"gates", "distill"} & set(config.steps):
        assert list(objective_problems(getattr(config, step).losses, student, shape)) == []
    assert shape.ctc_head or config.finetune.head == "new"


def test_the_published_count(method):
    name, preset = method
    if name not in PRINTED:
        assert preset.num_params_printed is None
        return
    millions, tolerance = PRINTED[name]
    assert preset.num_params_printed == pytest.approx(1e6 * millions)
    counted = preset.num_params_target if name in TARGETS else preset.num_params_as_published
    assert counted == pytest.approx(1e6 * millions, rel=tolerance)
    assert preset.about == (tolerance > 1e-3)
    assert preset.num_params_as_published == EXACT.get(name, preset.num_params_as_published)


def test_where_the_shape_is_learned_the_target_stands_beside_what_it_begins_with(method):
    name, preset = method
    if name not in TARGETS:
        assert preset.num_params_target is None
        return
    before, share = TARGETS[name]
    assert preset.num_params_deployed == before and preset.num_params_target == round(before * share)
    assert names(preset.describe()[2], f"{preset.num_params_target:,}")


def test_what_is_deployed_is_what_is_built(method):
    _, preset = method
    assert preset.num_params_deployed == preset.student.num_params
    head = preset.deployed_parts.get("lm_head", 0)
    dropped = sum(count for name, count in preset.published_parts.items() if name not in preset.deployed_parts)
    assert preset.num_params_as_published == preset.num_params_deployed - head + dropped


def test_the_page_has_both_counts_part_by_part(method):
    name, preset = method
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()
            if line.startswith("|")]  # fmt: skip
    row = next(row for row in rows if row[0] == f"`{name}`")
    parts, published, deployed = row[1:4]
    named = preset.published_parts | preset.deployed_parts
    assert parts == ", ".join(f"{part} {count:,}" for part, count in named.items())
    assert published.split(" ")[0] == f"{preset.num_params_as_published:,}"
    target = preset.num_params_target
    assert target is None or names(published, f"{target:,}")
    assert deployed == f"{preset.num_params_deployed:,}"


@pytest.mark.slow
def test_wav2vec2_base_has_its_count():
    assert count_params(BigfootForCTC(BigfootConfig(ctc_head=False))) == pytest.approx(94.4e6, rel=1e-3)


@pytest.mark.slow
def test_our_thin_student_is_thin_and_no_thinner():
    thin = summarize_preset("methods/bigfoot_thin.yaml")
    shape = resolve_student(load_config("methods/bigfoot_thin.yaml"), BigfootConfig()).shape
    assert shape.num_hidden_layers >= 4 and shape.hidden_size >= 384 and min(shape.conv_dim) >= 128
    assert thin.num_params_deployed >= 5_000_000
    assert 7.4079e9 / sum(thin.student.macs_by_part.values()) == pytest.approx(8.0, rel=0.01)


@pytest.mark.slow
def test_summary_of_a_file(bigfoot):
    code, output, _ = bigfoot("summary", "methods/armhubert.yaml", "--json")
    facts = json.loads(output)
    assert code == 0 and facts["num_params_as_published"] == 26_448_448
    assert facts["num_params_deployed"] == facts["num_params"] == 26_448_448 - 12 * 369_408
    assert any(names(layer["what"], "maps of 0") for layer in facts["layers"])
    code, output, _ = bigfoot("summary", str(CONFIG_FOLDER / "methods" / "lowrank.yaml"))
    assert code == 0 and "deployed" in output and "ranks q_proj 192" in output


def test_ranks_by_energy_cannot_be_counted():
    with refusing(("student.low_rank.rank", "by_weights"), kind=ModelError):
        summarize_preset("methods/lowrank.yaml", ["student.low_rank.rank=0"])
