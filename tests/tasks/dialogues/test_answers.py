"""Answers and their scores: calibrated labels, forecasts by hand, and a report of 200 items in batches of any size."""

import json
import math

import numpy as np
import pytest
import soundfile
import torch
from sacrebleu.metrics.chrf import CHRF

from bigfoot.config import read_settings
from bigfoot.data.turns import Turn, read_turns
from bigfoot.errors import DataError
from bigfoot.formats.folder import load_model
from bigfoot.formats.speech_llm import build_speech_llm
from bigfoot.models.speech_llm.adapters import AdapterShape
from bigfoot.pipeline.speech_llm.rows import judge_task, write_answers
from bigfoot.tasks.speech_llm.answers import Answered, answer_examples
from bigfoot.tasks.speech_llm.examples import Example, find_labels, read_examples
from bigfoot.tasks.speech_llm.prompts import PromptBuilder
from bigfoot.tasks.speech_llm.scores import score_task
from bigfoot.tasks.speech_llm.settings import CLASSIFY, FORECAST, SpeechLLMConfig
from bigfoot.text.prompts import PromptTemplate
from tests.refusals import names, refused

pytestmark = pytest.mark.slow

LABELS = ["change", "neutral", "sustain"]


@pytest.fixture(scope="module")
def loaded(models):
    shape = AdapterShape("stack", stride=4, hidden_size=16)
    template = PromptTemplate("{history}client: {audio}\n{instruction} ")
    found = build_speech_llm(load_model(models["encoder"]), models["lm"], shape, template)
    with torch.no_grad():
        for parameter in found.model.language_model.parameters():
            # As transformers starts them, all labels are nearly as likely.
            if parameter.ndim > 1:
                parameter.mul_(8)
    return found


@pytest.fixture
def config(settings, config_file, tmp_path):
    found, problems = read_settings(SpeechLLMConfig, config_file, settings(tmp_path))
    assert not problems
    return found


@pytest.mark.parametrize("per_token", [False, True])
def test_labels_are_scored_by_their_tokens_and_calibrated_by_a_prompt_without_content(loaded, config, per_token):
    language_model, tokens = loaded.model.language_model, loaded.tokens
    expected = []
    for label in LABELS:
        ids = [token for text in ("client: ", "\n", "attitude:", " ") for token in tokens.tokenizer(text).input_ids]
        answer = [*tokens.tokenizer(label).input_ids, tokens.end_id]
        with torch.no_grad():
            logits = language_model(input_ids=torch.tensor([ids + answer])).logits[0]
        before = logits[len(ids) - 1 : -1].log_softmax(-1)
        total = float(before.gather(-1, torch.tensor(answer)[:, None]).sum())
        expected.append(total / len(answer) if per_token else total)
    examples, scores = read_examples(config.data.test, config), []
    config.classify.length_normalized = per_token
    for config.classify.calibrate in (False, True):
        answered = answer_examples(examples, PromptBuilder(loaded, config.data), config, LABELS)
        scores.append(np.array([[item.scores[label] for label in LABELS] for item in answered]))
    assert np.abs(scores[0] - scores[1] - np.array(expected)).max() < 1e-4
    assert (scores[0] <= 0).all() and np.ptp(scores[0]) > 0.1


def test_forecasts_are_scored_as_by_hand(tmp_path):
    texts = [("that is a good plan", "that is a plan"), ("tell me more", "tell me more"), ("you are ready", "")]
    facts = [(-4.0, 5), (-1.5, 4), (-9.0, 4)]
    answered = [
        Answered(
            Example(FORECAST, Turn(f"d{n}#1", f"d{n}", "a", "", tmp_path), (), "", reference), "", prediction,
            {"log_likelihood": value, "tokens": count},
        )
        for n, ((reference, prediction), (value, count)) in enumerate(zip(texts, facts, strict=True))
    ]  # fmt: skip
    metrics = score_task(answered, [], "macro_f1", 20, 0).metrics
    references, predictions = zip(*texts, strict=True)
    assert metrics["perplexity"] == pytest.approx(math.exp(14.5 / 13))
    assert metrics["chrf"] == pytest.approx(CHRF().corpus_score(predictions, [references]).score)
    assert (metrics["distinct_1"], metrics["distinct_2"]) == (1.0, 1.0)


def test_turns_are_lines_of_json_whatever_letters_are_in_them(tmp_path):
    file, texts = tmp_path / "turns.jsonl", ["yes\u2028no", "a\x85b\x0bc", "çé 漢字 {audio}"]
    lines = [json.dumps({"audio": "a.wav", "text": text}, ensure_ascii=False) for text in texts]
    file.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    assert [turn.text for turn in read_turns(file)[0]] == ["yes no", "a b c", texts[2]]


@pytest.mark.parametrize("lines", [[(1, 2), (0, 1)], [(0, 1), (2, 3), (1, 2)]])
def test_turns_out_of_order_are_refused_and_overlapping_ones_are_not(tmp_path, lines):
    def write(lines):
        rows = [{"dialogue": "d", "audio": "a.wav", "start": start, "end": end} for start, end in lines]
        (tmp_path / "turns.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return tmp_path / "turns.jsonl"

    with refused(DataError, f":{len(lines)}:"):
        read_turns(write(lines))
    assert len(read_turns(write([(0, 2), (1, 3), (1, 2)]))[0]) == 3


def test_labels_without_letters_are_none(config):
    example = Example(CLASSIFY, Turn("d#1", "d", "a", "", "a.wav"), (), "", "yes")
    for labels in (["yes", ""], ["yes", " "], ["yes"], ["yes", "yes"]):
        config.classify.labels = labels
        with refused(DataError, labels):
            find_labels(config.classify, [example])


def test_answers_that_are_cut_are_counted(loaded, config, monkeypatch):
    config.forecast.most_new_tokens, config.tasks = 3, [FORECAST]
    examples = read_examples(config.data.test, config)[:3]
    outputs = [[5], [5, 6, 7], [5, 6]]
    monkeypatch.setattr("bigfoot.tasks.speech_llm.answers.generate", lambda *_, **__: outputs)
    builder = PromptBuilder(loaded, config.data)
    answer_examples(examples, builder, config, [])
    assert list(builder.cuts.answers.values()) == [False, True, False]
    assert names(builder.cuts.describe("test")[0], 1, 3)


@pytest.fixture
def turns(tmp_path):
    """200 turns of 40 dialogues, noise of 0.05 to 0.2 s."""
    rng = np.random.default_rng(0)
    rows, place = [], 0.0
    soundfile.write(tmp_path / "all.wav", 0.1 * rng.standard_normal(26 * 16000), 16000)
    for number in range(200):
        seconds = rng.uniform(0.05, 0.2)
        rows.append({
            "dialogue": f"d{number // 5}", "audio": "all.wav", "start": place, "end": place + seconds, "speaker": "a",
            "role": "client", "text": " ".join(["yes"] * int(rng.integers(1, 5))), "attitude": LABELS[number % 3],
        })  # fmt: skip
        place += seconds
    (tmp_path / "turns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "turns.jsonl"


def test_a_report_of_200_items_is_the_same_for_every_batch_size(loaded, config, turns, tmp_path):
    examples = read_examples(turns, config)
    assert len(examples) == 200
    reports, files, scores = [], [], []
    for config.evaluate.batch_size in (1, 2, 4, 8):
        builder = PromptBuilder(loaded, config.data)
        answered, score = judge_task(builder, config, CLASSIFY, {"test": examples})
        write_answers(answered, tmp_path / "examples.jsonl")
        rows = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
        files.append([{key: value for key, value in row.items() if key != "scores"} for row in rows])
        scores.append([[item.scores[label] for label in LABELS] for item in answered])
        reports.append(vars(score))
    assert reports.count(reports[0]) == files.count(files[0]) == 4
    assert np.count_nonzero(reports[0]["confusion"]) >= 6  # the answers differ
    assert np.ptp(np.array(scores), axis=0).max() < 1e-4
