"""The page on which models are compared: what it offers and answers, and how it works in a real browser."""

import base64
import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bigfoot.measure.error_rate import count_errors
from bigfoot.report.rows import Report, Row
from bigfoot.runtime.transcriber import Transcriber, open_engine
from bigfoot.serve.limits import Limits
from bigfoot.serve.listen.models import OpenedModels, list_models
from tests.browsers import browsing, need_chromium
from tests.codes import refusing
from tests.serve.clients import form, send, wait_until

pytestmark = pytest.mark.slow
pytest.importorskip("fastapi")

TEXTS = {"teacher": "ONE TWO", "distill": "ONE TWO TWO"}


@pytest.fixture(scope="module")
def run(place, tmp_path_factory):
    """A run with its report: a teacher, a student, and an utterance that went wrong."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    (folder / "distill").mkdir(parents=True)
    (folder / "distill" / "model").symlink_to(place / "student.onnx")
    audio = "data:audio/wav;base64," + base64.b64encode((place / "0.wav").read_bytes()).decode()
    worst = {"split": "test", "model": "distill", "id": "u1", "speaker": "s", "reference": "one two", "errors": 1,
             "hypotheses": TEXTS, "audio": audio}  # fmt: skip
    rows = [
        Row("teacher", "teacher", "test", wer=0.02, size_bytes=10_000_000, num_unique_params=2_500_000),
        Row("distill", "distill", "test", wer=0.04, size_bytes=4_000_000, speedup=2.5),
        Row("gone", "gone", "test"),
    ]
    config = {"teacher": {"path": str(place / "student.onnx")}}
    report = Report(title="mine", rows=rows, worst=[worst], config=config)
    (folder / "report").mkdir()
    (folder / "report" / "report.json").write_text(json.dumps(asdict(report)))
    return folder


@contextmanager
def showing(listed):
    from bigfoot.serve.listen.application import build_page
    from bigfoot.serve.server import GracefulServer

    opened = OpenedModels(listed.models, lambda place: open_engine(Path(place).resolve(), 1))
    server = GracefulServer(build_page(listed, opened, Limits(seconds=20.0)), 1.0)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def page(run):
    with showing(list_models([str(run)], Path)) as address:
        yield address


def test_what_is_offered(page, run, place):
    offer = json.loads(send(page, None, path="/api/offer")[2])
    found = {model["name"]: (model["role"], model["size_bytes"]) for model in offer["models"]}
    assert found == {"teacher": ("teacher", 10_000_000), "distill": ("student", 4_000_000)}
    assert offer["models"][1]["figures"] == {"split": "test", "wer": 0.04, "speedup": 2.5}
    assert [(item["run"], item["id"]) for item in offer["worst"]] == [("mine", "u1")]
    assert str(place) not in json.dumps(offer)
    both = list_models([str(run), str(place / "student.onnx")], Path)
    assert [model.name for model in both.models] == ["mine: teacher", "mine: distill", "student"]
    with refusing(("RUN", "no_run")):
        list_models([str(place / "nothing")], Path)


def test_models_side_by_side(page, place):
    expected = Transcriber(place / "student.onnx", 1).transcribe([place / "0.wav"])[0].text
    content = form((place / "0.wav").read_bytes(), text=expected.lower(), model="distill")
    status, _, answer = send(page, content, path="/api/compare")
    answer = json.loads(answer)
    (found,) = answer["models"]
    assert status == 200 and found["text"] == expected and found["errors"]["wer"] == 0 and found["seconds"] > 0
    assert [word["text"] for word in found["words"]] == expected.split()
    assert [word["text"] for word in found["expected"]] == expected.lower().split()
    assert all(0 <= word["start"] < word["end"] <= answer["seconds"] for word in found["words"])
    assert all(0 < word["confidence"] <= 1 for word in found["words"])
    assert len(answer["peaks"]) == 600 and max(answer["peaks"]) == 1


@pytest.mark.parametrize(
    ("content", "fields", "status"), [(b"none", {}, 400), (None, {"model": "other"}, 404), (b"", {"model": ""}, 400)]
)
def test_what_cannot_be_compared(page, place, content, fields, status):
    body = form((place / "0.wav").read_bytes() if content is None else content, **({"model": "distill"} | fields))
    assert send(page, body, path="/api/compare")[0] == status


@pytest.fixture(scope="module")
def spoken(place, tmp_path_factory):
    """A file for the microphone: a string of digits between silences."""
    silence = np.zeros(16_000, np.float32)
    wave = soundfile.read(place / "0.wav", dtype="float32")[0]
    path = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    soundfile.write(path, np.concatenate([silence, wave, silence]), 16_000)
    return path


@pytest.fixture(scope="module")
def browser(page, spoken, tmp_path_factory):
    need_chromium()
    microphone = (
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={spoken}", "--autoplay-policy=no-user-gesture-required",
    )  # fmt: skip
    with browsing(tmp_path_factory.mktemp("chromium"), *microphone) as driver:
        driver.get(page)
        wait_until(lambda: driver.find_elements("css selector", "#models tbody tr"))
        yield driver
        assert not [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def cards(driver):
    """Compared models on the page: name, text, and the words on the waveform."""
    wait_until(lambda: driver.find_elements("css selector", "#results .text"))
    return {
        card.get_attribute("data-model"): (
            card.find_element("css selector", ".text").text,
            [button.get_attribute("textContent") for button in card.find_elements("css selector", ".lane button")],
        )
        for card in driver.find_elements("css selector", "#results article")
    }


def test_a_recording_of_the_microphone(browser, place, spoken):
    boxes = browser.find_elements("css selector", "#models input")
    assert [(box.get_attribute("value"), box.is_selected()) for box in boxes] == [("teacher", True), ("distill", True)]
    button = browser.find_element("id", "record")
    button.click()
    wait_until(lambda: button.get_attribute("aria-pressed") == "true")
    time.sleep(soundfile.info(spoken).duration)  # as long as there is to be recorded
    button.click()
    wait_until(lambda: browser.find_element("id", "compare").is_enabled())
    browser.find_element("id", "compare").click()
    found = cards(browser)
    assert list(found) == ["teacher", "distill"] and found["teacher"] == found["distill"]
    text, words = found["distill"]
    expected = Transcriber(place / "student.onnx", 1).transcribe([place / "0.wav"])[0].text
    (counts,) = count_errors([expected], [text])
    assert words == text.split() and counts.hits >= counts.reference_length - 1
    assert browser.execute_script("return document.querySelector('#player').duration") > 2


def test_an_upload_with_its_text(browser, place):
    expected = Transcriber(place / "student.onnx", 1).transcribe([place / "1.wav"])[0].text
    browser.find_element("id", "file").send_keys(str(place / "1.wav"))
    browser.find_element("css selector", "#models input[value=teacher]").click()
    browser.execute_script("document.getElementById('results').replaceChildren()")
    browser.find_element("id", "text").send_keys(expected.lower() + " nine")
    browser.find_element("id", "compare").click()
    found = cards(browser)
    assert list(found) == ["distill"] and found["distill"][0] == expected
    assert found["distill"][1] == [*expected.split(), *expected.lower().split(), "nine"]
    marks = [word.get_attribute("class") for word in browser.find_elements("css selector", "#results .words .word")]
    assert marks == ["word hit"] * len(expected.split()) + ["word deletion"]
    pixels = "canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data"
    script = f"const canvas = document.querySelector('canvas'); return {pixels}.some((value) => value > 0)"
    assert browser.execute_script(script)
    browser.find_element("css selector", "#results .lane button").click()
    wait_until(lambda: browser.execute_script("return document.querySelector('#player').currentTime") > 0)


def test_the_worst_have_players(browser):
    (card,) = browser.find_elements("css selector", "#utterances article")
    assert card.find_element("css selector", "audio").get_attribute("src").startswith("data:audio/")
    browser.execute_script("document.getElementById('results').replaceChildren()")
    card.find_element("css selector", "button").click()
    assert list(cards(browser)) == ["distill"]
    assert browser.find_element("id", "text").get_attribute("value") == "one two"
