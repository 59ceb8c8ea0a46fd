"""Minutes and hours by decoders: no word lost or doubled where pieces meet, and no more memory."""

from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import torch

from bigfoot.audio.files import normalize_waveform, read_audio
from bigfoot.audio.pauses import LONGEST_PIECE, cut_at_pauses
from bigfoot.audio.recording import open_recording
from bigfoot.data.batches import evaluation_batches
from bigfoot.data.corpora import prepare_data
from bigfoot.data.synthetic import synthesize_split
from bigfoot.decoding.autoregressive import decode_autoregressive
from bigfoot.decoding.greedy import transcribe_batches
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.evaluation.evaluate import evaluate_accuracy
from bigfoot.evaluation.generate import generate_text
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.models.reshape import with_decoder
from bigfoot.pipeline.settings import load_config
from bigfoot.text.tokenizers import CharTokenizer, Processor

RATE = 16_000


@pytest.fixture(scope="module")
def teacher():
    return load_model("tiny_teacher")


@pytest.fixture(scope="module")
def spoken(teacher, tmp_path_factory):
    """A table of a recording of nearly a minute, and of two strings of it."""
    folder = tmp_path_factory.mktemp("long")
    strings = list(synthesize_split(7, "train", 26, 2, 6))
    rows = {"talk": strings, "one": strings[:1], "two": strings[1:2]}
    lines = ["path\ttext"]
    for name, parts in rows.items():
        wave = np.concatenate([0.1 * normalize_waveform(part.samples) for part in parts])
        soundfile.write(folder / f"{name}.wav", wave, RATE)
        lines.append(f"{name}.wav\t{' '.join(part.text for part in parts)}")
    assert soundfile.info(folder / "talk.wav").duration > LONGEST_PIECE + 5
    (folder / "test.tsv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def manifest(spoken, teacher):
    overrides = ["data.corpus=table", f"data.root={spoken}", "data.test_splits=[test.tsv]"]
    config = load_config(None, [*overrides, "data.train_splits=[test.tsv]", "data.dev_splits=[test.tsv]"])
    return prepare_data(config.data, 0, spoken / "data", teacher.processor.tokenizer.characters).manifests["test"]


@pytest.fixture(scope="module")
def at_once(manifest, teacher):
    """The teacher's transcripts where nothing is cut."""
    batches = evaluation_batches(manifest, replace(teacher.processor, tokenizer=None), 1)
    return transcribe_batches(teacher.model, batches, teacher.processor.tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["greedy", "beam"])
def test_a_long_recording_is_judged_whole_though_transcribed_in_pieces(teacher, manifest, at_once, decoder):
    config = EvaluateConfig(decoder=decoder, beam_size=4, batch_size=2, bootstrap_samples=10)
    found = evaluate_accuracy(teacher, manifest, config, 0)
    transcripts = found.transcripts
    assert transcripts.ids[0].endswith("talk") and len(transcripts.ids) == 3
    assert found.error_rate.num_words == sum(len(text.split()) for text in transcripts.references)
    # Transcribed at once, which the tiny teacher has never learned, it is worse; a lost piece would be dozens of words.
    assert at_once.references == transcripts.references
    assert found.error_rate.wer <= jiwer.wer(at_once.references, at_once.greedy)
    assert transcripts.greedy[1:] == at_once.greedy[1:]


@pytest.mark.slow
def test_pieces_come_one_behind_the_other_and_short_ones_as_they_are(manifest, teacher):
    whole = [batch.input_values for batch in evaluation_batches(manifest, teacher.processor, 1)]
    cut = list(evaluation_batches(manifest, teacher.processor, 1, longest=20.0))
    names = [batch.ids[0] for batch in cut]
    assert len(cut) > 4 and len(set(names)) == 3 and names == sorted(names, key=[*dict.fromkeys(names)].index)
    pieces = [batch for batch in cut if batch.ids[0] == names[0]]
    # Normalized as one, cut without a gap, the text with the first.
    joined = torch.cat([batch.input_values for batch in pieces], dim=1)
    torch.testing.assert_close(joined, whole[0], atol=1e-4, rtol=1e-4)
    assert pieces[0].texts[0] and not any(batch.texts[0] for batch in pieces[1:])
    for batch, values in zip(cut[-2:], whole[-2:], strict=True):
        assert torch.equal(batch.input_values, values)


@pytest.fixture(scope="module")
def writer(build_model, teacher):
    model = with_decoder(build_model("base"), {"hidden_size": 16, "num_layers": 1, "num_heads": 2}, seed=1)
    with torch.no_grad():
        model.decoder.text.embedding.weight *= 20
    return LoadedModel(model, teacher.processor)


@pytest.mark.slow
@torch.no_grad()
def test_a_decoder_writes_about_every_piece_and_goes_on_from_the_prompt_in_the_first(writer, spoken):
    config = DecodingConfig(max_tokens=6)
    found = generate_text(writer, spoken / "talk.wav", "ONE", config)
    tokenizer, model = writer.processor.tokenizer, writer.model
    whole = torch.from_numpy(normalize_waveform(read_audio(spoken / "talk.wav")))
    texts, scores = [], []
    for piece in cut_at_pauses(open_recording(spoken / "talk.wav", 0, RATE)):
        output = model(whole[None, piece.chunk.start : piece.chunk.end], output_memory=True)
        prompts = [tokenizer.encode("ONE")] if piece.index == 0 else None
        (text,) = decode_autoregressive(model.decoder.text_model, output.memory, None, config, prompts=prompts)
        texts.append(tokenizer.decode(text.best.tokens))
        scores.append(text.best.score)
    assert len(texts) >= 2 and found.text == " ".join(filter(None, texts))
    assert found.score == pytest.approx(sum(scores), abs=1e-3)


@pytest.mark.slow
def test_evaluation_by_a_decoder_joins_what_it_writes(writer, spoken, manifest):
    config = EvaluateConfig(batch_size=2, bootstrap_samples=10, autoregressive=DecodingConfig(max_tokens=6))
    found = evaluate_accuracy(writer, manifest, config, 0, by_decoder=True).transcripts
    assert found.hypotheses[0] == generate_text(writer, spoken / "talk.wav", "", DecodingConfig(max_tokens=6)).text


def test_five_milliseconds_are_no_text(writer, tmp_path):
    soundfile.write(tmp_path / "blink.wav", np.full(80, 0.1), RATE)
    found = generate_text(writer, tmp_path / "blink.wav", "", DecodingConfig())
    assert found.text == "" and np.isfinite(found.score)


# A process of its own: the most memory that it held tells of nothing else.
LISTEN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.pipeline.settings import load_config
from bigfoot.data.corpora import prepare_data
from bigfoot.embedding.embed import EmbedRequest, embed_folder
from bigfoot.evaluation.evaluate import evaluate_accuracy
from bigfoot.evaluation.generate import generate_text
from bigfoot.formats.folder import load_model
base = Path(sys.argv[1])
loaded, short = load_model(base / "model"), DecodingConfig(beam_size=2, max_tokens=3)
found = generate_text(loaded, base / "audio" / "a.wav", "A", short)
names = [f"data.{split}_splits=[test.tsv]" for split in ("train", "dev", "test")]
config = load_config(None, ["data.corpus=table", f"data.root={base}", "data.verify_audio=false", *names,
                            "data.max_seconds=100000"])
manifest = prepare_data(config.data, 0, base / "data", None).manifests["test"]
settings = EvaluateConfig(decoder="beam", beam_size=2, batch_size=2, bootstrap_samples=10)
words = evaluate_accuracy(loaded, manifest, settings, 0).error_rate.num_words
request = EmbedRequest(base / "audio", base / "out.safetensors", base / "texts", pool="none")
tensors = embed_folder(loaded, request, print).tensors
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(found.text.split()), words, tensors, peak.split()[1])
"""


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """A model of 12 frames a second, so that hours are a matter of seconds; nearly always silent."""
    config = BigfootConfig(
        hidden_size=8, num_attention_heads=1, num_hidden_layers=1, intermediate_size=8, conv_dim=[2, 2, 2],
        conv_kernel=[10, 8, 16], conv_stride=[10, 8, 16], num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
        vocab_size=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = with_decoder(BigfootForCTC(config), {"hidden_size": 8, "num_layers": 1, "num_heads": 1}, seed=1)
    with torch.no_grad():
        model.head.bias[0] += 8
    folder = tmp_path_factory.mktemp("small")
    save_model(model, Processor(CharTokenizer(("<pad>", "|", "A", "B"))), folder / "model")
    return folder / "model"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak of a process")
def test_twenty_minutes_take_no_more_memory_than_five(small_model, launch, tmp_path):
    minute = np.concatenate([string.samples for string in synthesize_split(0, "test", 30)])[: 60 * RATE]
    assert len(minute) == 60 * RATE
    peaks, found = {}, {}
    for minutes in (5, 20):
        base = tmp_path / str(minutes)
        for name in ("audio", "texts"):
            (base / name).mkdir(parents=True)
        (base / "model").symlink_to(small_model)
        with soundfile.SoundFile(base / "audio" / "a.wav", "w", RATE, 1) as file:
            for _ in range(minutes):
                file.write(minute)
        sentence = " ".join(["A", "B"] * 10 * minutes)
        (base / "texts" / "a.txt").write_text(sentence)
        (base / "test.tsv").write_text(f"path\ttext\naudio/a.wav\t{sentence}")
        done = launch.run("-c", LISTEN, base)
        assert done.returncode == 0, done.stderr
        *found[minutes], peak = map(int, done.stdout.splitlines()[-1].split())
        peaks[minutes] = peak / 1024
        (base / "audio" / "a.wav").unlink()
    print(f"peak: five minutes {peaks[5]:.0f} MiB, twenty {peaks[20]:.0f} MiB")
    for minutes, (generated, words, tensors) in found.items():
        pieces = minutes * 60 / LONGEST_PIECE
        assert words == 20 * minutes and pieces <= tensors <= 2 * pieces and generated >= pieces / 2
    # Their samples alone are 77 MB.
    assert peaks[20] <= min(1.2 * peaks[5], peaks[5] + 50)
