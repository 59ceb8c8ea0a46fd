"""A run whose student gets a decoder: trained, saved, judged beside CTC in one table."""

import json

import pytest

from bigfoot.models.folder import load_model
from bigfoot.pipeline.run import run_pipeline
from bigfoot.report.render import render_markdown

DECODER = (
    "finetune.objective=joint", "finetune.decoder.hidden_size=16", "finetune.decoder.num_layers=1",
    "finetune.decoder.num_heads=2", "finetune.decoder.streams=[encoder,posteriors]", "finetune.decoder.stride=2",
    "steps=[student,finetune]", "evaluate.autoregressive.beam_size=2", "evaluate.autoregressive.ctc_weight=0.3",
    "evaluate.autoregressive.max_tokens=12",
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
    assert decoder.speedup is None and ctc.speedup is not None
    text = render_markdown(report)
    assert "| finetune, decoder |" in text and "decoder MiniGPT, beam 2, CTC 0.3" in text
    assert {"ctc", "decoder"} <= report.losses["finetune"][0].keys()
    history = json.loads((tmp_path / "finetune" / "model" / "history.json").read_text())["steps"]
    assert history[-1]["losses"] == {"ctc": 0.3, "decoder": 0.7}
    assert load_model(tmp_path / "finetune" / "model").model.decoder.shape.streams == ["encoder", "posteriors"]


def test_a_decoder_that_cannot_be_is_said_before_anything_is_done(small_config, tmp_path):
    from bigfoot.errors import ConfigError

    with pytest.raises(ConfigError) as raised:
        small_config(
            tmp_path, "finetune.decoder.hidden_size=15", "finetune.decoder.streams=[lips]",
            "finetune.label_smoothing=[2]", "finetune.objective=gpt",
        )  # fmt: skip
    said = str(raised.value)
    for key in ("decoder.hidden_size: 15", "unknown stream 'lips'", "finetune.label_smoothing", "objective: 'gpt'"):
        assert key in said
