"""Models on the hub, whose API is replaced at its door: what would be uploaded, and what the card says of it."""

import json
import shutil
from types import SimpleNamespace

import pytest
import yaml
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError

from bigfoot.errors import ModelError
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.report import push
from bigfoot.report.card import render_card
from bigfoot.report.push import push_model, write_upload
from bigfoot.report.rows import Report, Row
from bigfoot.report.writer import save_report
from tests.refusals import names, refused

HISTORY = [
    {"step": "student", "changes": ["depth: kept layers [0, 2] of 3."]},
    {"step": "distill", "changes": [], "losses": {"logit_kl": 1.0, "hidden": 0.5}, "max_steps": 3000, "best_step": 2900,
     "best_dev_wer": 0.0495, "seconds": 304.7},
]  # fmt: skip
REFUSED = SimpleNamespace(headers={}, request=None)


@pytest.fixture
def run(build_model, processor, tmp_path):
    """The student of a finished run, with a report near it."""
    folder = tmp_path / "run" / "distill" / "model"
    folder.mkdir(parents=True)
    rows = [Row("teacher", "teacher", "test", wer=0.04), Row("distill", "distill", "test", wer=0.0512, cer=0.01)]
    save_report(Report("run", rows), tmp_path / "run" / "report")
    model = build_model("base", conv_groups=[1, 2, 2, 2, 2, 2, 2], conv_sharing=[[1, 2]])
    return LoadedModel(model, processor, HISTORY, folder)


@pytest.fixture
def hub(monkeypatch):
    """What was asked of the hub."""
    asked = []

    class Api:
        def create_repo(self, repo_id, **options):
            asked.append(("create", repo_id, options))

        def upload_folder(self, repo_id, folder_path, commit_message):
            asked.append(("upload", repo_id, sorted(path.name for path in folder_path.iterdir())))
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    monkeypatch.setattr(push, "HfApi", Api)
    return asked


def split_card(card):
    _, head, text = card.split("---\n", 2)
    return yaml.safe_load(head), text


def test_the_card_says_what_it_is_and_how_it_was_made(run):
    head, text = split_card(render_card(run, "me/small-one", "apache-2.0"))
    assert head["license"] == "apache-2.0" and head["pipeline_tag"] == "automatic-speech-recognition"
    assert {"wav2vec2", "bigfoot"} <= set(head["tags"])
    assert "# small-one" in text and "3 layers, 24 wide" in text and "[[1, 2]] share kernels" in text
    assert '.from_pretrained("me/small-one", trust_remote_code=True)' in text
    assert "| distill | 5.12 | 1.00 |" in text and "| teacher | 4.00 |" in text
    assert f"1. student\n   - {HISTORY[0]['changes'][0]}" in text
    assert names(text, "logit_kl 1", "hidden 0.5", "3,000", "2,900", "4.95%")
    assert str(run.folder.parent) not in text


def test_a_plain_headless_model_without_a_run(build_model, processor):
    loaded = LoadedModel(build_model("base", ctc_head=False), type(processor)())
    head, text = split_card(render_card(loaded, "me/encoder"))
    assert "license" not in head and head["pipeline_tag"] == "feature-extraction"
    assert "AutoModel.from_pretrained" in text and "trust_remote_code" not in text and "AutoFeatureExtractor" in text
    assert names(text, "bigfoot.load_model") and not {"## Measured", "## How it was made"} & set(text.splitlines())


def test_the_cards_code_opens_what_is_uploaded(build_model, processor, tmp_path):
    loaded = LoadedModel(build_model("base"), processor)
    write_upload(loaded, "me/plain", tmp_path / "up")
    code = (tmp_path / "up" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names = {}
    exec(code.replace("me/plain", str(tmp_path / "up")), names)
    assert type(names["model"]).__name__ == "Wav2Vec2ForCTC"
    assert type(names["processor"]).__name__ == "Wav2Vec2Processor"
    assert load_model(tmp_path / "up").processor == processor


@pytest.mark.slow
def test_push_makes_the_repository_and_uploads_the_whole_folder(run, hub):
    assert push_model(run, "me/small-one", private=True) == "https://hub/me/small-one/commit/1"
    (created, uploaded) = hub
    assert created == ("create", "me/small-one", {"private": True, "exist_ok": True})
    assert {"README.md", "config.json", "model.safetensors", "vocab.json", "bigfoot_models_ctc.py"} <= set(uploaded[2])


@pytest.mark.slow
def test_dry_run_writes_what_push_uploads(run, hub, tmp_path):
    write_upload(run, "me/small-one", tmp_path / "dry")
    assert hub == []
    push_model(run, "me/small-one")
    assert hub[1][2] == sorted(path.name for path in (tmp_path / "dry").iterdir() if path.name != ".bigfoot")
    config = json.loads((tmp_path / "dry" / "config.json").read_text())
    assert config["auto_map"]["AutoModelForCTC"] == "bigfoot_models_ctc.BigfootForCTC"


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [LocalTokenNotFoundError("no token"), HTTPError("no route"), HfHubHTTPError("403", response=REFUSED)]
)
def test_a_hub_that_refuses_is_reported(error, run, hub, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(push.HfApi, "upload_folder", refuse)
    with refused(ModelError, "me/small-one", "auth"):
        push_model(run, "me/small-one")


@pytest.mark.parametrize("name", ["a/b/c", "me/two words", "../x"])
def test_a_name_that_no_repository_has(name, run, hub, tmp_path):
    with pytest.raises(ModelError):
        write_upload(run, name, tmp_path / "dry")
    assert hub == [] and not (tmp_path / "dry").exists()


def test_a_moved_run_keeps_its_report(run, tmp_path):
    moved = shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    run.folder = moved / "distill" / "model"
    assert "| distill | 5.12 |" in render_card(run, "me/x")


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), True, "7", None])
@pytest.mark.parametrize("key", ["losses", "max_steps", "best_dev_wer"])
def test_numbers_of_a_history_that_are_none_are_left_out(key, value):
    teacher = load_model("tiny_teacher")
    entry = {"step": "mine", key: {"loss": value} if key == "losses" else value}
    plain, card = (
        render_card(LoadedModel(teacher.model, teacher.processor, [each]), "me/x") for each in ({"step": "mine"}, entry)
    )
    assert card == plain


@pytest.mark.parametrize("license", ["mit", "yes", "Null", "1.0", "off", "a: b", "x\ny: z", "cc-by-4.0", "'", "no-one"])
def test_any_licence_is_a_text_in_the_head(license):
    teacher = load_model("tiny_teacher")
    head = render_card(teacher, "me/x", license).split("---")[1]
    assert yaml.safe_load(head)["license"] == license
