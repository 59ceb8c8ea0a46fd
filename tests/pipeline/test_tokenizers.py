import pytest

from bigfoot.formats.folder import load_model
from bigfoot.pipeline.run import run_pipeline
from bigfoot.pipeline.settings import load_config
from bigfoot.text.ngram import train_ngram, write_arpa
from tests.codes import refusing

STEPS = ("steps=[finetune]", "finetune.head=new", "finetune.max_steps=2")


@pytest.fixture(scope="module")
def digits_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "digits.arpa"
    write_arpa(train_ngram(["ONE TWO THREE", "FOUR FIVE SIX", "SEVEN EIGHT NINE ZERO"], 2), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("bpe", "sentencepiece bpe, 30 tokens"), ("phonemes", "phonemes of espeak-ng's en-us without stress")],
)
def test_a_run_with_a_head_over_other_tokens(small_config, tmp_path, quick_report, kind, expected, digits_model):
    words = kind == "bpe"
    more = ["evaluate.decoder=lm", f"evaluate.lm_path={digits_model}"] if words else ["evaluate.decoder=beam"]
    more += ["finetune.vocab_size=30", "finetune.head=respelled"] if words else []
    report = run_pipeline(small_config(tmp_path / "run", *STEPS, f"finetune.tokenizer={kind}", *more))
    assert report is not None
    assert any(expected in change for change in report.changes)
    # sentencepiece's 30 tokens but for <s>, </s> and <unk> begin with a letter or are the space or the blank.
    assert any("27 tokens" in change for change in report.changes) == words
    row = report.rows[-1]
    assert row.transcripts.startswith("NFKC")
    assert row.name == "finetune" and row.wer is not None
    assert row.unit == ("word" if words else "phoneme")
    assert row.decoder.startswith("prefix beam 16") and ("digits.arpa" in row.decoder) == words
    assert ("language model" in row.protocol.replace("no language model", "")) == words
    assert row.greedy_difference is not None
    # Of phonemes and words there is no difference.
    assert (row.wer_difference is None) != words
    again = load_model(tmp_path / "run" / "finetune" / "model")
    assert again.processor.tokenizer is not None
    assert again.model.config.vocab_size == len(again.processor.tokenizer)
    markdown = (tmp_path / "run" / "report" / "report.md").read_text()
    assert ("PER" in markdown) != words


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["finetune.tokenizer=bpe"], ("finetune.tokenizer", "other_vocabulary")),
        (["evaluate.decoder=lm"], ("evaluate.lm_path", "missing")),
        (["evaluate.decoder=lm", "evaluate.lm_path=nowhere.arpa"], ("evaluate.lm_path", "unreadable")),
        (["finetune.head=new", "finetune.tokenizer=huggingface"], ("finetune.tokenizer_path", "needs_each_other")),
        (["finetune.head=new", "finetune.tokenizer=bpe", "finetune.tokenizer_text=none.txt"],
         ("finetune.tokenizer_text", "no_file")),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_done(small_run, tmp_path, overrides, expected):
    with refusing(expected):
        run_pipeline(load_config(None, small_run(tmp_path / "run", *overrides)))
    assert not (tmp_path / "run" / "data").exists()
