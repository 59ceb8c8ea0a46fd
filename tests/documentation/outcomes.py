"""What the examples of each page promise, checked after they ran."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch
from lhotse import load_manifest
from safetensors.torch import load_file

import bigfoot
from bigfoot.config.files import list_configs
from bigfoot.data.manifests import load_prepared
from bigfoot.data.shards.parts import find_parts
from bigfoot.measure.size import count_params, measure_size
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import plain_state
from bigfoot.pipeline.plan import resolve_plan
from bigfoot.pipeline.settings import load_config
from bigfoot.runtime.classifier import Classifier
from tests.pages import DOCS

CHECKS: dict[str, Callable[["Ran"], None]] = {}
"""By the page's path below the project."""


@dataclass
class Ran:
    """A page after its blocks were run in a folder.

    Args:
        folder: it was the working directory.
        names: what its Python blocks defined.
        printed: by command, and for Python blocks by their first line.
    """

    folder: Path
    names: dict[str, object] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)

    def output(self, start: str) -> str:
        """What the only command that starts so printed."""
        (found,) = (text for command, text in self.printed.items() if command.startswith(start))
        return found

    def report(self, run: str) -> dict:
        """``report.json`` of a run folder."""
        return json.loads((self.folder / "runs" / run / "report" / "report.json").read_text(encoding="utf-8"))

    def model(self, place: str) -> torch.nn.Module:
        """The model of a folder below ``runs``."""
        return bigfoot.load_model(self.folder / "runs" / place).model


def page(name: str) -> Callable[[Callable[[Ran], None]], Callable[[Ran], None]]:
    """Name the page whose promises a function checks."""

    def register(check: Callable[[Ran], None]) -> Callable[[Ran], None]:
        CHECKS[name] = check
        return check

    return register


@torch.no_grad()
def logits_of(model: torch.nn.Module, folder: Path, name: str = "logits") -> torch.Tensor:
    """Logits of ``speech.wav``, normalized as every shipped and distilled model wants it."""
    samples = torch.from_numpy(soundfile.read(folder / "speech.wav", dtype="float32")[0])
    return getattr(model.eval()(((samples - samples.mean()) / samples.std())[None]), name)[0]


def distance(student: torch.nn.Module, teacher: torch.nn.Module, folder: Path) -> float:
    """Mean Kullback-Leibler divergence per frame of the student's posteriors from the teacher's."""
    ours, theirs = (logits_of(model, folder).log_softmax(-1) for model in (student, teacher))
    return float((theirs.exp() * (theirs - ours)).sum(-1).mean())


def curve(report: dict, step: str, name: str) -> list[float]:
    """A loss over the steps of a training run."""
    return [record[name] for record in report["losses"][step] if name in record]


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two models have the same tensors, to the bit."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@page("README.md")
def check_readme(ran: Ran) -> None:
    """A smaller student learns from its teacher, by command and from Python; files transcribe; runs are compared."""
    teacher, student = ran.names["teacher"].model, ran.names["student"].model
    assert (teacher.config.num_hidden_layers, student.config.num_hidden_layers) == (12, 4)
    assert set(teacher.config.groups_of_convs) == {1} and set(student.config.groups_of_convs) == {1, 2}
    assert count_params(student) < count_params(teacher) / 2
    assert [entry["step"] for entry in ran.names["student"].history[-2:]] == ["depth", "conv_groups"]
    assert same_weights(student, ran.model("python/student")) and same_weights(
        student, ran.model("python/student/model")
    )
    distilled, report = ran.model("python/distill/model"), ran.report("python")
    assert len(curve(report, "distill", "loss")) == 10
    assert not same_weights(student, distilled) and not same_weights(student, teacher)
    assert distance(distilled, teacher, ran.folder) < distance(student, teacher, ran.folder)
    sizes = {row["name"]: row["num_unique_params"] for row in report["rows"]}
    assert sizes["teacher"] == count_params(teacher) and sizes["distill"] == count_params(student)
    assert all(f"| {name} |" in ran.output("import bigfoot") for name in sizes)
    assert "-->" in ran.output("bigfoot transcribe") and (ran.folder / "student.onnx").is_file()
    compared = ran.output("bigfoot compare")
    assert "demo" in compared and "fsdd" in compared
    own = ran.model("mine/finetune/model").config
    assert own.num_hidden_layers == 6 and 2 in own.groups_of_convs


@page("docs/tutorials/compress.md")
def check_compress(ran: Ran) -> None:
    """The student of a table is smaller, was trained on the table, and transcribes."""
    report, config = ran.report("mine"), ran.names["student"].model.config
    assert config.num_hidden_layers == 4 and 2 in config.groups_of_convs
    assert "4 layers" in ran.output("from bigfoot import load_model")
    assert len(report["rows"]) == 4 and report["rows"][-1]["compression_ratio"] > 2
    assert all(row["wer"] is not None and row["num_utterances"] == 3 for row in report["rows"])
    teacher = bigfoot.load_model("tiny_teacher").model
    cut, distilled = (ran.model(f"mine/{step}/model") for step in ("student", "distill"))
    assert not same_weights(cut, distilled) and len(curve(report, "distill", "loss")) == 4
    assert (ran.folder / "runs/mine/report/report.html").is_file()
    assert f"{count_params(teacher):,}" in ran.output("bigfoot summary")
    assert ran.output("bigfoot transcribe").count("\n") == 1


@page("docs/tutorials/choose-method.md")
def check_choose_method(ran: Ran) -> None:
    """All methods are listed and counted; pruning reaches its target."""
    assert all(name in ran.output("bigfoot configs") for name in list_configs())
    assert "94,371,712" in ran.output("bigfoot summary methods/dphubert.yaml")
    rows = ran.report("pruned")["rows"]
    work = [row["macs_per_second"] for row in rows]
    assert work[-1] < work[1] < work[0] and work[-1] == work[-2]


@page("docs/tutorials/deploy-int8.md")
def check_deploy(ran: Ran) -> None:
    """The int8 file is smaller and writes the same text, with times; both are measured."""
    exact, small = ran.folder / "student.onnx", ran.folder / "student-int8.onnx"
    assert small.stat().st_size < 0.5 * exact.stat().st_size
    plain, subtitles = (out for command, out in ran.printed.items() if command.startswith("bigfoot transcribe"))
    text = plain.strip()
    assert text == (ran.folder / "texts" / "speech.txt").read_text(encoding="utf-8").upper()
    assert re.search(r"00:00:0\d,\d{3} --> 00:00:0\d,\d{3}", subtitles) and text in subtitles
    printed = ran.output("from bigfoot import Transcriber").splitlines()
    assert printed[0] == text and [line.split()[-1] for line in printed[1:]] == text.split()
    times = [float(number) for line in printed[1:] for number in line.split()[:2]]
    assert times == sorted(times) and len(set(times)) > 1
    assert "student-int8.onnx" in ran.output("bigfoot benchmark")


@page("docs/how-to/convert.md")
def check_convert(ran: Ran) -> None:
    """Converted folders give the same logits, one of them without bigfoot; the upload is whole."""
    from transformers import Wav2Vec2ForCTC

    teacher = bigfoot.load_model("tiny_teacher").model
    assert torch.equal(logits_of(ran.model("teacher"), ran.folder), logits_of(teacher, ran.folder))
    plain, facts = Wav2Vec2ForCTC.from_pretrained(ran.folder / "runs/plain", output_loading_info=True)
    assert not any(facts[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    student = logits_of(ran.model("demo/finetune/model"), ran.folder)
    torch.testing.assert_close(logits_of(plain, ran.folder), student, atol=1e-4, rtol=1e-4)
    assert {"README.md", "config.json", "model.safetensors"} <= {
        path.name for path in (ran.folder / "runs/upload").iterdir()
    }


@page("docs/how-to/decoder.md")
def check_decoder(ran: Ran) -> None:
    """The model has a decoder, and the report a row for each way to text."""
    loaded = ran.model("joint/finetune/model")
    assert loaded.decoder is not None
    decoders = {row["decoder"] for row in ran.report("joint")["rows"] if row["step"] == "finetune"}
    assert len(decoders) == 2 and "greedy" in decoders
    assert "bigfoot generate" in " ".join(ran.printed)


@page("docs/how-to/compare-models.md")
def check_compare_models(ran: Ran) -> None:
    """The table has the teacher, whose answers stand beside it."""
    with (ran.folder / "leaderboard/leaderboard.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["model"] == "tiny_teacher" and float(row["Average WER"]) < 20
    (answers,) = (ran.folder / "leaderboard").glob("MODEL_*.jsonl")
    assert len(answers.read_text(encoding="utf-8").splitlines()) == 20


@page("docs/how-to/embed.md")
def check_embed(ran: Ran) -> None:
    """One tensor a recording, as the model gives it; the Python block reads it."""
    tensors = load_file(ran.folder / "out.safetensors")
    rows = [json.loads(line) for line in (ran.folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["key"] for row in rows] == list(tensors) == ["speech.wav"] and rows[0]["text"] == (
        ran.folder / "texts/speech.txt"
    ).read_text(encoding="utf-8")
    assert str(tensors["speech.wav"].shape) in ran.output("import json")


@page("docs/how-to/export.md")
def check_export(ran: Ran) -> None:
    """Both files give the model's logits, and the folders what their runtimes read."""
    import onnxruntime

    model = ran.model("demo/finetune/model")
    samples = soundfile.read(ran.folder / "speech.wav", dtype="float32")[0]
    wave = ((samples - samples.mean()) / samples.std())[None].astype(np.float32)
    feed = {"input_values": wave, "lengths": np.array([wave.shape[1]])}
    outputs = dict(
        zip(
            ("logits", "frames"),
            onnxruntime.InferenceSession(ran.folder / "student.onnx").run(["logits", "frames"], feed),
            strict=True,
        )
    )
    expected = logits_of(model, ran.folder)
    assert outputs["frames"].tolist() == [len(expected)]
    torch.testing.assert_close(torch.from_numpy(outputs["logits"][0]), expected, atol=1e-3, rtol=1e-3)
    exported = torch.export.load(ran.folder / "student.pt2").module()
    logits = exported(torch.from_numpy(wave), torch.tensor([wave.shape[1]]))[0][0, : len(expected)]
    torch.testing.assert_close(logits.detach(), expected, atol=1e-3, rtol=1e-3)
    graph = onnxruntime.InferenceSession(ran.folder / "student-sherpa" / "model.onnx")
    best = graph.run(["logits"], {"input_values": wave})[0][0].argmax(-1)
    assert best.tolist() == expected.argmax(-1).tolist()
    for table in ("student-sherpa/tokens.txt", "student-onnx-asr/vocab.txt"):
        assert len((ran.folder / table).read_text(encoding="utf-8").splitlines()) == expected.shape[1]
    transcript = bigfoot.Transcriber(ran.folder / "student.onnx", 1).transcribe([ran.folder / "speech.wav"])[0]
    assert ran.output("import sherpa_onnx").strip() == transcript.text


@page("docs/how-to/gpu.md")
def check_gpu(ran: Ran) -> None:
    """``auto`` is a precision that this machine has."""
    report = ran.report("gpu")
    assert report["config"]["precision"] == "auto" and report["rows"][-1]["wer"] is not None


@page("docs/how-to/hot-words.md")
def check_hot_words(ran: Ran) -> None:
    """What nobody says does not come out at the bonuses of the page; what sounds like it does at a high one."""
    from bigfoot.decoding.choose import build_search
    from bigfoot.decoding.frames import decode_frames_by
    from bigfoot.decoding.settings import SearchConfig
    from bigfoot.runtime.transcriber import Transcriber

    spoken = (ran.folder / "texts" / "speech.txt").read_text(encoding="utf-8").upper()
    texts = [text.strip() for start, text in ran.printed.items() if start.startswith("bigfoot transcribe")]
    assert texts == [spoken, spoken] and ran.output("from bigfoot.decoding").strip() == spoken == "ZERO FIVE"
    engine = ran.names["engine"]
    search = build_search(SearchConfig("beam", hot_words=["fine"], hot_word_bonus=40.0), engine.facts.tokenizer)
    decode = decode_frames_by(search, engine.facts.tokenizer.blank_id)
    assert Transcriber(engine, decode=decode).transcribe([ran.folder / "speech.wav"])[0].text == "ZERO FINE"
    assert "beam" in ran.output("bigfoot evaluate")


@page("docs/how-to/tune.md")
def check_tune(ran: Ran) -> None:
    """Both trials have an error on dev and values within their ranges."""
    trials = json.loads((ran.folder / "runs/tune/tune.json").read_text(encoding="utf-8"))["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "complete"]
    assert all(1e-4 <= trial["values"]["distill.learning_rate"] <= 3e-3 for trial in trials)


@page("docs/how-to/supernet.md")
def check_supernet(ran: Ran) -> None:
    """Three students within the limit, each of the size that the page has, one of them trained further."""
    points = json.loads((ran.folder / "picked" / "front.json").read_text(encoding="utf-8"))["points"]
    written = [point for point in points if point["folder"]]
    assert len(written) == 3 and len(points) == 6
    for point in written:
        size = (ran.folder / "picked" / point["folder"] / "model.safetensors").stat().st_size
        assert size == point["size_bytes"] <= 2_000_000
    assert bigfoot.load_model(ran.folder / "better" / "student-1").history[-1]["step"] == "distill"
    assert ran.names["cut"].config.num_hidden_layers == 2


@page("docs/how-to/transcribe.md")
def check_transcribe(ran: Ran) -> None:
    """A line of text, a cue, and a file with words and times for each recording."""
    spoken = (ran.folder / "texts" / "speech.txt").read_text(encoding="utf-8").upper()
    line, cues, _ = (text for start, text in ran.printed.items() if start.startswith("bigfoot transcribe"))
    assert line.strip() == spoken
    assert re.fullmatch(rf"1\n00:00:0\d,\d{{3}} --> 00:00:0\d,\d{{3}}\n{spoken}\s*", cues)
    (written,) = (ran.folder / "transcripts").glob("*.json")
    words = json.loads(written.read_text(encoding="utf-8"))["words"]
    assert [word["text"] for word in words] == spoken.split()
    assert all(word["start"] < word["end"] for word in words)


@page("docs/how-to/align.md")
def check_align(ran: Ran) -> None:
    """The words of the text in order, in every format; a lag was measured."""
    spoken = (ran.folder / "texts" / "speech.txt").read_text(encoding="utf-8").split()
    measured = json.loads((ran.folder / "student.lag.json").read_text(encoding="utf-8"))
    assert 0.05 < measured["start"] < 0.15 and measured["words"] > 300
    ctm = ran.printed["bigfoot align student.onnx speech.wav texts/speech.txt"]
    assert [line.split()[4] for line in ctm.splitlines()] == spoken
    assert f'text = "{spoken[0]}"' in (ran.folder / "speech.TextGrid").read_text(encoding="utf-8")
    written = json.loads((ran.folder / "times" / "speech.json").read_text(encoding="utf-8"))
    assert [word["text"] for word in written["words"]] == spoken and written["confidence"] > 0.5
    assert len(ran.output("from bigfoot.alignment").splitlines()) == len(spoken)


@page("docs/how-to/streaming.md")
def check_streaming(ran: Ran) -> None:
    """The stream's lines are the file's text; the student keeps its chunks."""
    assert ran.model("streaming/finetune/model").config.streaming == {"chunk": 16, "left": 4, "dynamic": True}
    text, lines = (shown for start, shown in ran.printed.items() if start.startswith("bigfoot transcribe --stream"))
    objects = [json.loads(line) for line in lines.splitlines()]
    assert [each["text"] for each in objects if "text" in each] == text.splitlines()
    assert ran.names["partial"] == "" and [each.text for each in ran.names["final"]] == text.splitlines()[-1:]


@page("docs/how-to/language-model.md")
def check_language_model(ran: Ran) -> None:
    """The trigrams hold the text's words; the decoder writes no other."""
    from bigfoot.text.ngram import read_arpa_words

    assert {"ONE", "TWO", "THREE", "FOUR", "SIX"} <= set(read_arpa_words(ran.folder / "words.arpa"))
    assert "\\3-grams:" in (ran.folder / "words.arpa").read_text(encoding="utf-8")
    assert "words.arpa" in ran.output("bigfoot evaluate")


@page("docs/how-to/own-data.md")
def check_own_data(ran: Ran) -> None:
    """Tables are read row by row; without transcripts the teacher writes them; a corpus is described."""
    prepared = load_prepared(ran.folder / "runs/table/data")
    lines = (ran.folder / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    texts = {line.split("\t")[1].upper() for line in lines}
    assert {cut.supervisions[0].text for cut in load_manifest(prepared.manifests["train"])} == texts
    labelled = load_prepared(ran.folder / "runs/unlabelled/data")
    assert len(load_manifest(labelled.manifests["train"])) == 1
    facts = json.loads((ran.folder / "runs/corpus/describe.json").read_text(encoding="utf-8"))
    assert [split["num_utterances"] for split in facts["splits"]] == [12, 2, 3]
    facts = json.loads((ran.folder / "runs/table_corpus/describe.json").read_text(encoding="utf-8"))
    assert [split["num_utterances"] for split in facts["splits"]] == [len(lines)]


@page("docs/how-to/large-corpora.md")
def check_large_corpora(ran: Ran) -> None:
    """Shards are written and trained on; a folder of Kaldi is described."""
    assert sorted(path.name for path in (ran.folder / "shards/train").glob("*.tar")) == [
        f"recording.{number:06d}.tar" for number in range(3)
    ]
    manifest = load_prepared(ran.folder / "runs/shards/data").manifests["train"]
    assert len(find_parts(manifest)) == 3
    assert (ran.folder / "runs/shards/distill/facts.json").is_file()
    facts = json.loads((ran.folder / "runs/calls/describe.json").read_text(encoding="utf-8"))
    assert [split["num_utterances"] for split in facts["splits"]] == [1]


@page("docs/how-to/any-teacher.md")
def check_any_teacher(ran: Ran) -> None:
    """Conformer and Whisper taught: by posteriors, by texts, by transcripts."""
    for run, losses in (("any_teacher", {"logit_kl", "hidden"}), ("by_graph", {"logit_kl"}), ("by_texts", {"nbest"}),
                        ("by_whisper", {"ctc"})):  # fmt: skip
        facts = json.loads((ran.folder / "runs" / run / "distill/facts.json").read_text(encoding="utf-8"))
        assert losses <= facts["records"][0].keys()
    assert (ran.folder / "runs/by_texts/data/hypotheses/hypotheses.json").is_file()


@page("docs/how-to/own-loss.md")
def check_own_loss(ran: Ran) -> None:
    """The loss is trained on, and weighed from Python."""
    motion = curve(ran.report("motion"), "distill", "motion")
    assert len(motion) == 4 and all(0 < value < 100 for value in motion)
    assert "'motion': 0.5" in ran.output("from bigfoot.config.plugins")


@page("docs/how-to/own-step.md")
def check_own_step(ran: Ran) -> None:
    """The head of the last model is 0.9 times the one before, and nothing else differs."""
    before, after = (ran.model(f"shrink/{step}/model").state_dict() for step in ("distill", "shrink"))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) == 1 and changed[0].endswith("head.weight")
    torch.testing.assert_close(after[changed[0]], 0.9 * before[changed[0]])
    assert [row["name"] for row in ran.report("shrink")["rows"]][-1] == "shrunk_head"


@page("docs/how-to/own-technique.md")
def check_own_technique(ran: Ran) -> None:
    """Layers are the means of three, and the student of the run is pruned after it was merged."""
    student, teacher = ran.names["student"].model, bigfoot.load_model("tiny_teacher").model
    assert student.config.num_hidden_layers == 4 and ran.output("import bigfoot").startswith("4 ")
    merged, whole = plain_state(student), plain_state(teacher)
    for name in [name for name in merged if ".layers.1." in name]:
        parts = [whole[name.replace(".layers.1.", f".layers.{layer}.")] for layer in (3, 4, 5)]
        torch.testing.assert_close(merged[name], sum(parts) / 3)
    assert same_weights(student, ran.model("merged/model"))
    run = ran.model("merged_and_distilled/distill/model")
    assert run.config.num_hidden_layers == 4 and count_params(run) < count_params(student)


@page("docs/how-to/shrink.md")
def check_shrink(ran: Ran) -> None:
    """Nine tenths of the multiply-accumulates, of the parameters in a run, by exact counts; still near its teacher."""
    teacher = bigfoot.load_model("tiny_teacher").model
    report = json.loads((ran.folder / "runs/half/shrink.json").read_text(encoding="utf-8"))
    before, after = report["sizes"]["macs_per_second"]
    half = ran.model("half")
    assert 0.8 * before < after <= 0.9 * before
    assert count_params(half) == report["sizes"]["params"][1] < count_params(teacher)
    assert distance(half, teacher, ran.folder) < 1.0
    student = count_params(ran.model("shrunk/student/model"))
    assert 0.8 * count_params(teacher) < student <= 0.9 * count_params(teacher)


@page("docs/how-to/quantize.md")
def check_quantize(ran: Ran) -> None:
    """Fewer bytes, nearly the same logits."""
    files = [ran.folder / f"runs/{name}/model.safetensors" for name in ("int8", "demo/finetune/model")]
    small, whole = (path.stat().st_size for path in files)
    assert small < 0.5 * whole
    expected = logits_of(ran.model("demo/finetune/model"), ran.folder)
    assert (logits_of(ran.model("int8"), ran.folder) - expected).abs().max() < 0.05 * expected.abs().max()


@page("docs/how-to/quantize-aware.md")
def check_quantize_aware(ran: Ran) -> None:
    """Fewer bytes with each command, and files as small as their folders, which give nearly the student's logits."""
    student, folder = ran.model("small/finetune/model"), ran.folder / "runs/small"
    assert ran.model("small/qat/model").config.precision == "int8_static"
    sizes = [(ran.folder / name).stat().st_size for name in ("small.onnx", "int8.onnx")]
    whole = (folder / "finetune/model/model.safetensors").stat().st_size
    assert sizes[0] < 0.25 * whole and sizes[1] < 0.5 * whole
    expected, found = (logits_of(model, ran.folder) for model in (student, ran.model("small/qat/model")))
    assert (found - expected).abs().max() < 0.2 * expected.abs().max()


@page("docs/how-to/resume.md")
def check_resume(ran: Ran) -> None:
    """Nothing was done again; the run folder holds what the page lists."""
    run, facts = ran.folder / "runs/demo", ran.folder / "before.json"
    now = {str(path.relative_to(run)): path.stat().st_mtime_ns for path in run.rglob("*.safetensors")}
    assert now == json.loads(facts.read_text(encoding="utf-8")) and now
    text = (DOCS / "how-to" / "resume.md").read_text(encoding="utf-8")
    listed = re.findall(r"^([a-z]+(?:\.\w+|/))\s", text, re.MULTILINE)
    assert len(listed) == 7 and all((run / name).exists() for name in listed)


@page("docs/how-to/from-scratch.md")
def check_from_scratch(ran: Ran) -> None:
    """All weights were random, and all losses of the page were on."""
    facts = json.loads((ran.folder / "runs/scratch/finetune/facts.json").read_text(encoding="utf-8"))
    (record, *_) = facts["records"]
    assert record.keys() >= {"ctc", "intermediate_ctc", "log_mel", "loss"}


@page("docs/how-to/text.md")
def check_text(ran: Ran) -> None:
    """transformers opens the classifier; the fused one has a stream of each layer and of the log-mel bands."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(ran.folder / "runs/mood/model")
    assert model.config.id2label == {0: "bad", 1: "good"}
    for name in ("mood", "fused"):
        (row,) = [row for row in ran.report(name)["rows"] if row["split"] == "test"]
        assert 0 <= row["score"] <= 1
    config = json.loads((ran.folder / "runs/fused/report/report.json").read_text(encoding="utf-8"))["config"]
    assert config["speech"]["layers"] == [6, -1] and config["speech"]["fbank"] == 40


@page("docs/how-to/tasks.md")
def check_tasks(ran: Ran) -> None:
    """Heads are trained, compressed and exported, as int8 in the end; the toy encoder pads as it should."""
    model, loaded = ran.names["model"].eval(), bigfoot.load_model(ran.folder / "loudness").model
    waves, mask = torch.randn(2, 9_000), torch.arange(9_000) < torch.tensor([[9_000], [4_000]])
    with torch.no_grad():
        batch = loaded(waves, mask).task_logits
        assert torch.equal(batch, model(waves, mask).task_logits)
        assert (model(waves[1:, :4_000]).task_logits[0] - batch[1]).abs().max() < 1e-6
    assert ran.names["answer"].shape == (1, 2)
    small = ran.model("small/train_task/model")
    assert small.config.num_hidden_layers == 4 and small.config.task["labels"] == ["0", "1", "2"]
    assert sum("speech.wav" in line for line in ran.output("bigfoot classify").splitlines()) == 1
    check_whisper(ran)
    check_repeats(ran)
    digits = Classifier(ran.folder / "digit.onnx")
    (answer,) = digits.classify([ran.folder / "speech.wav"])
    scores = logits_of(ran.model("tasks/fsdd_digit/train_task/model"), ran.folder, "task_logits").softmax(-1)
    gap = (torch.tensor([answer.scores[label] for label in ("0", "1", "2")]) - scores).abs().max()
    assert not digits.facts.batch_invariant and 0 < gap < 0.05


def check_whisper(ran: Ran) -> None:
    """Its head has learned, and nothing else: the encoder of the run's model is that of the teacher."""
    trained = ran.model("tasks/synthetic_traits/train_task/model")
    frozen = dict(bigfoot.load_model(ran.folder / "whisper").model.named_parameters())
    assert frozen.keys() < dict(trained.named_parameters()).keys()
    assert all(torch.equal(weight, frozen.get(name, weight)) for name, weight in trained.named_parameters())
    (row,) = ran.report("tasks/synthetic_traits")["rows"][-1:]
    assert 0 <= row["score"] <= 1


def check_repeats(ran: Ran) -> None:
    """Three seeds give three scores, and every speaker is in test of one of the five folds."""
    folder, prepared = ran.folder / "runs/tasks/fsdd_digit", {}
    for run in [path for path in folder.iterdir() if path.name.startswith("seed")]:
        manifest = load_prepared(run / "data").manifests["test"]
        prepared[run.name] = {cut.supervisions[0].speaker for cut in load_manifest(manifest)}
    folds = [name for name in prepared if "-fold" in name]
    assert prepared.keys() - folds == {"seed1", "seed2", "seed3"} and len(folds) == 5
    assert sorted(speaker for fold in folds for speaker in prepared[fold]) == [f"speaker{n}" for n in range(6)]
    entries = json.loads((folder / "repeats.json").read_text())["repeats"]
    assert "train_task" in {entry["model"] for entry in entries}
    assert all(sorted(entry["scores"]) == sorted(folds) for entry in entries)
    table = ran.output("bigfoot train-task --config tasks/fsdd_digit.yaml --seeds")
    assert "# fsdd_digit: 3 runs" in table and "| train_task | test | macro_f1 |" in table


@page("docs/how-to/serve.md")
def check_serve(ran: Ran) -> None:
    """All clients get the text of the command line."""
    text = (ran.folder / "texts" / "speech.txt").read_text(encoding="utf-8").upper()
    assert text in ran.output("from openai") and text in ran.output("curl").splitlines()
    assert f"'text': '{text}'" in ran.output("import json")


@page("docs/how-to/plan.md")
def check_plan(ran: Ran) -> None:
    """Each configuration is one that the pipeline takes, of the shape that was counted, within the limits."""
    made = json.loads((ran.folder / "plan" / "plan.json").read_text(encoding="utf-8"))
    assert {each["name"] for each in made["proposals"]} >= {"depth_int8", "thin_int8"} and made["unknown"]
    for each in made["proposals"]:
        config = load_config(ran.folder / "plan" / f"{each['name']}.yaml")
        models = resolve_plan(config).models
        assert models is not None and not models.student_problems
        assert config.data.corpus == "synthetic_digits" and config.distill.max_steps == 300
        assert measure_size(BigfootForCTC(models.student)).macs_per_second == each["macs_per_second"] <= 1.2e8
        assert each["num_bytes"] <= 1.4e6 and ("quantize" in config.steps) == each["int8"]


@page("docs/how-to/speech-llm.md")
def check_speech_llm(ran: Ran) -> None:
    """Both stages were trained and evaluated; the adapter's frames were written."""
    tasks = {(task["name"], task["kind"]): task for task in ran.report("mine")["tasks"]}
    assert {("train_adapter", "classify"), ("train_lora", "classify")} <= tasks.keys()
    (tensor,) = load_file(ran.folder / "calls.safetensors").values()
    assert tensor.ndim == 2 and len(tensor) > 1
    assert "macro_f1" in ran.output("bigfoot evaluate") and len(ran.output("bigfoot ask")) > 0


@page("docs/explanation/methods.md")
def check_methods(ran: Ran) -> None:
    """The summary counts as the page's table does; the tiny student has the method's shape."""
    facts = json.loads(ran.output("bigfoot summary"))
    assert (facts["num_params_as_published"], facts["num_params_deployed"]) == (26_448_448, 22_015_552)
    (run,) = (ran.folder / "runs").rglob("armhubert*")
    config = bigfoot.load_model(run / "finetune" / "model").model.config
    assert any(layer is not None for layer in config.attention_reuse)


@page("docs/explanation/measuring.md")
def check_measuring(ran: Ran) -> None:
    """A model is compared with itself."""
    assert ran.output("bigfoot benchmark").count("tiny_teacher") >= 2
