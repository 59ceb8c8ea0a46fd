"""A run whose student gets a decoder: trained, saved, judged beside CTC in one table."""

import json

import pytest
import torch
from transformers import GPT2LMHeadModel

from bigfoot.formats.folder import load_model
from bigfoot.pipeline.run import run_pipeline
from bigfoot.report.render import render_markdown
from tests.codes import refusing
from tests.refusals import names

DECODER = (
    "finetune.objective=joint", "finetune.decoder.hidden_size=16", "finetune.decoder.num_layers=1",
    "finetune.decoder.num_heads=2", "finetune.decoder.streams=[encoder,posteriors]", "finetune.decoder.stride=2",
    "steps=[student,finetune]", "evaluate.autoregressive.beam_size=2", "evaluate.autoregressive.ctc_weight=0.3",
    "evaluate.autoregressive.max_tokens=12", "data.num_test=3",
)  # fmt: skip

PRETRAINED = (
    "finetune.objective=decoder", "finetune.decoder.kind=pretrained", "finetune.decoder.train=frozen",
    "evaluate.autoregressive.ctc_weight=0", "finetune.learning_rate=1e-2",
)  # fmt: skip


@pytest.mark.slow
def test_both_decoders_stand_in_one_table(small_config, tmp_path, quick_memory):
    report = run_pipeline(small_config(tmp_path, *DECODER))
    rows = {row.name: row for row in report.rows}
    assert list(rows) == ["teacher", "student_init", "finetune", "finetune, decoder"]
    ctc, decoder = rows["finetune"], rows["finetune, decoder"]
    assert (ctc.decoder, decoder.decoder) == ("greedy", "MiniGPT, beam 2, CTC 0.3")
    assert ctc.wer is not None and decoder.wer is not None and decoder.num_words == ctc.num_words
    assert decoder.batch_invariant and decoder.batch_invariance_max_difference < 1e-4
    assert decoder.real_time_factor > ctc.real_time_factor and decoder.speedup_low <= decoder.speedup
    assert decoder.macs_by_part.pop("decoder") > 0 and decoder.macs_by_part == ctc.macs_by_part
    assert decoder.macs_per_second > ctc.macs_per_second == sum(ctc.macs_by_part.values())
    text = render_markdown(report)
    assert "| finetune, decoder |" in text and decoder.decoder in text
    assert {"ctc", "decoder"} <= report.losses["finetune"][0].keys()
    history = json.loads((tmp_path / "finetune" / "model" / "history.json").read_text())["steps"]
    assert history[-1]["losses"] == {"ctc": 0.3, "decoder": 0.7}
    assert load_model(tmp_path / "finetune" / "model").model.decoder.shape.streams == ["encoder", "posteriors"]


@pytest.mark.slow
def test_a_pretrained_language_model_learns_to_listen(small_config, small_gpt2, tmp_path, quick_report):
    model = f"finetune.decoder.language_model={small_gpt2}"
    report = run_pipeline(small_config(tmp_path, *DECODER[5:], *PRETRAINED, model))
    decoder = report.rows[-1]
    assert (decoder.name, decoder.decoder) == ("finetune, decoder", "PretrainedDecoder, beam 2")
    assert decoder.wer is not None and decoder.batch_invariant
    model = load_model(tmp_path / "finetune" / "model")
    assert model.processor.decoder_tokenizer is not None
    before = GPT2LMHeadModel.from_pretrained(small_gpt2).transformer.wte.weight
    assert torch.equal(model.model.decoder.text.model.transformer.wte.weight, before)
    assert any(p.grad is None and "gate" in n and p.item() != 0 for n, p in model.model.decoder.named_parameters())
    assert any(names(change, small_gpt2) for change in report.changes)


@pytest.mark.slow
def test_a_shallower_decoder_learns_from_a_deeper_one(small_config, tmp_path, quick_report):
    deep = [each for each in DECODER if "num_layers" not in each]
    run_pipeline(small_config(tmp_path / "deep", *deep, "finetune.decoder.num_layers=3"), until="finetune")
    teacher = tmp_path / "deep" / "finetune" / "model"
    config = small_config(
        tmp_path / "shallow", f"teacher.path={teacher}", "steps=[student,distill]", "student.decoder_layers=2",
        "data.transcripts=teacher", "data.max_label_wer=5", "data.num_train=8", "data.num_test=2",
        "distill.losses.decoder.weight=1", "distill.losses.decoder_kl.weight=1", *DECODER[-4:-1],
    )  # fmt: skip
    report = run_pipeline(config)
    rows = {row.name: row for row in report.rows}
    assert rows["distill, decoder"].num_words and rows["teacher, decoder"].num_words
    losses = report.losses["distill"]
    assert {"decoder", "decoder_kl", "logit_kl"} <= losses[0].keys()
    steps = [entry["decoder"] for entry in losses if "decoder" in entry]
    assert steps[-1] < steps[0]
    student = load_model(tmp_path / "shallow" / "distill" / "model").model
    assert len(student.decoder.text.layers) == 2 and len(load_model(teacher).model.decoder.text.layers) == 3


def test_a_decoder_that_cannot_be_is_refused_before_anything_is_done(small_config, tmp_path):
    with refusing(
        ("finetune.objective", "unknown_word"), ("finetune.decoder.streams", "unknown_word"),
        ("finetune.decoder.hidden_size", "indivisible"), ("finetune.label_smoothing", "bad_bounds"),
    ):  # fmt: skip
        small_config(
            tmp_path, "finetune.decoder.hidden_size=15", "finetune.decoder.streams=[lips]",
            "finetune.label_smoothing=[2]", "finetune.objective=gpt",
        )  # fmt: skip
    with refusing(("finetune.decoder.language_model", "missing")):
        small_config(tmp_path, "finetune.objective=joint", "finetune.decoder.kind=pretrained")
