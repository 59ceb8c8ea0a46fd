"""The wording of all problems of a configuration, in one file: tests elsewhere assert codes.

    BIGFOOT_WRITE_WORDING=1 python -m pytest tests/pipeline/test_wording.py

writes the file anew; its changes are then read in the diff.
"""

import ast
import os
import re
from pathlib import Path

import pytest

import bigfoot
from bigfoot.errors import ConfigError
from bigfoot.text.tokenizers import Processor, save_processor
from tests.conftest import make_teacher
from tests.pipeline import test_checks, test_prune, test_quantize, test_shapes, test_student, test_teacher_cache
from tests.pipeline.problems import problems_of
from tests.test_config import WRONG

FILE = Path(__file__).with_name("wording.txt")
CACHE = "distill.cache=cache"
CASES = [
    *([override] for override in WRONG),
    *([override] for override in test_checks.MODEL_PROBLEMS),
    *(list(settings) for settings, _ in test_student.WRONG),
    *(list(settings) for settings, _ in test_shapes.WRONG),
    *(list(settings) for settings, _ in test_prune.WRONG),
    *(list(settings) for settings, _ in test_quantize.WRONG),
    *([CACHE, *settings] for settings, _ in test_teacher_cache.UNSTORABLE),
    ["distill.losses.masked_hidden.weight=1", "distill.spec_augment.mask_time_prob=0"],
    ["steps=[student,finetune]", "control=ctc_only"],
    ["steps=[student,finetune,distill]", "finetune.head=new"],
    ["finetune.decoder.kind=pretrained", "finetune.objective=joint"],
    ["finetune.decoder={kind: pretrained, language_model: x, fuse: decoder}", "finetune.objective=joint",
     "evaluate.autoregressive.ctc_weight=0.3"],
    ["finetune.tokenizer=bpe", "finetune.head=new", "finetune.tokenizer_text=/nowhere.txt"],
    ["data.corpus=fsdd"],
    ["data.augment.noise_folder=/nowhere"],
    ["evaluate.decoder=lm"],
    ["evaluate.decoder=lm", "evaluate.lm_path=/nowhere.arpa"],
    ["evaluate.decoder=beam", "evaluate.hot_words=[seven,SEVEN-11,CAF\u00c9]"],
    ["evaluate.decoder=beam", "evaluate.hot_words=[SEVEN,' ']"],
    ["evaluate.decoder=beam", "evaluate.hot_words_file=/nowhere.txt"],
    ["evaluate.hot_word_bonus=.inf"],
    ["distill.losses.logit_kl.weight=0"],
    ["distill.losses.hidden={weight: 1, matches: [[1,1]], match_weights: [1,2]}"],
    ["distill.losses.hidden={weight: 1, matches: [[1,1]], match_weights: [-1]}"],
    ["distill.losses.hidden={weight: 1, mean_of: 9}"],
    ["distill.losses.heads={weight: 1, layers: [1,1]}"],
    ["distill.losses.heads={weight: 1, layers: [9]}"],
    ["distill.losses.heads={weight: 1, layers: [1], l1_weight: 0, cosine_weight: 0}"],
    ["distill.losses.masked_hidden={weight: 1, masked_weight: 0, unmasked_weight: 0}"],
    ["distill.losses.gram={weight: 1, layer_weight: 0, within_weight: 0}"],
    ["distill.losses.value_relation={weight: 1, heads: 5}"],
    ["distill.losses.decoder.weight=1"],
    ["distill.losses.decoder_kl.weight=1"],
    ["student.shape_init=least_squares", "student.shape.hidden_size=12"],
    ["student.decoder_layers=1"],
    ["gates.parts=[conv]", "steps=[gates]", "student.conv_groups=1"],
    ["prune.parts=[width]", "prune.importance=l1", "finetune.objective=joint", "steps=[finetune,prune]"],
    ["teacher.path=<headless>", "distill.losses.ctc.weight=1", "control=ctc_only"],
    ["teacher.path=<headless>", "steps=[prune]"],
    ["teacher.path=<headless>", "data.transcripts=none", "finetune.head=new", "distill.losses.logit_kl.weight=0",
     "distill.losses.hidden.weight=1"],
    ["teacher.path=<mute>", "distill.losses.ctc.weight=1", "control=ctc_only"],
    ["teacher.path=<small_vocabulary>", "student.path=<teacher>"],
    ["student.path=<quantized>"],
    ["student.path=<unnormalized>"],
    ["student.path=<teacher>", "steps=[distill]"],
]  # fmt: skip

UNSEEN = {
    "missing_package",  # every package is there where tests run
    "not_yaml", "unknown_stage",  # raised where a file or an option is read
    "heads_differ", "no_such_layer", "not_dense", "not_gateable", "not_prunable",  # of other teachers or steps
    "not_loaded",  # of plugins: tests/config/test_plugins.py
    "unknown_technique", "no_technique", "not_applicable",  # of student.techniques: tests/compress/test_chain.py
}  # fmt: skip
"""Codes that no case shows."""


@pytest.fixture
def places(narrow_teacher, other_teachers, build_huggingface, processor, tmp_path):
    """Folders by the names that cases and the file give them."""
    from bigfoot.compress.quantize import Quantize, apply
    from bigfoot.formats.folder import load_model, save_model

    loaded = load_model(narrow_teacher)
    save_model(apply(loaded.model, Quantize("int8"))[0], loaded.processor, tmp_path / "quantized")
    plain = make_teacher(tmp_path / "unnormalized", build_huggingface, processor)
    save_processor(Processor(processor.tokenizer, not processor.do_normalize, processor.sample_rate), plain)
    made = {"teacher": narrow_teacher, "quantized": tmp_path / "quantized", "unnormalized": plain}
    return made | other_teachers


def test_every_problem_in_its_words(small_run, places, tmp_path, monkeypatch):
    monkeypatch.delenv("BIGFOOT_DATA", raising=False)
    lines = []
    for case in CASES:
        given = [re.sub(r"<(\w+)>", lambda match: str(places[match[1]]), override) for override in case]
        lines.append("  ".join(case))
        for problem in problems_of(small_run(tmp_path / "run", *given)):
            line = f"{problem.key} [{problem.code}] {problem.message}"
            for name, place in places.items():
                line = line.replace(str(place), f"<{name}>")
            lines.append(f"    {line}")
    text = "\n".join(lines) + "\n"
    if os.environ.get("BIGFOOT_WRITE_WORDING"):
        FILE.write_text(text, encoding="utf-8")
    assert text == FILE.read_text(encoding="utf-8")


def declared_codes():
    """Every code that stands as a word in a call of ``Problem`` anywhere in the package."""
    for path in Path(bigfoot.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            named = ast.unparse(node.func)
            code = node.args[1:2] if named in ("Problem", "Problem.of") else []
            yield from (each.value for each in code if isinstance(each, ast.Constant))


def test_every_code_is_in_the_file():
    codes = set(declared_codes())
    seen = set(re.findall(r"^    \S+ \[(\w+)\]", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert len(codes) > 40 and codes - seen <= UNSEEN


def test_all_problems_are_shown_at_once():
    with pytest.raises(ConfigError) as caught:
        bigfoot.load_config(None, ["seed=-1", "threads=0"])
    assert str(caught.value) == (
        "2 problems in the configuration:\n"
        "  - seed: must not be below 0, got -1\n"
        "  - threads: must be above 0, got 0"
    )
