"""The page that ``--to web`` writes, in Chromium with onnxruntime-web: a microphone fed from a file, and no network."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bigfoot.compress.quantize import calibrate
from bigfoot.data.batches import LoadedUtterance
from bigfoot.data.synthetic import synthesize_string
from bigfoot.evaluation.torch_engine import TorchEngine
from bigfoot.export.audio import padded_audio
from bigfoot.export.web import PAGES, RUNTIME_FILES, build_web, read_runtime
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.runtime.transcriber import Transcriber

RATE = 16_000
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
PLACES = [Path(os.environ.get("BIGFOOT_NODE", ".")).resolve()]


def test_the_runtime_is_found_as_node_finds_it(tmp_path):
    dist = tmp_path / "a/node_modules/onnxruntime-web/dist"
    dist.mkdir(parents=True)
    for name in RUNTIME_FILES[1:]:
        (dist / name).write_text(name)
    assert read_runtime([tmp_path / "a"]) == {}
    (dist / RUNTIME_FILES[0]).write_text("first")
    found = read_runtime([tmp_path, tmp_path / "a/b/c"])
    assert set(found) == {f"ort/{name}" for name in RUNTIME_FILES} and found[f"ort/{RUNTIME_FILES[0]}"] == b"first"


def test_the_folder(build_model, processor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = LoadedModel(build_model("base", num_hidden_layers=1), processor)
    for _ in range(2):
        build_web(loaded).save(tmp_path / "page")
    assert {path.name for path in (tmp_path / "page").glob("[!.]*")} == {*PAGES, "model.onnx", "tokens.json"}
    facts = json.loads((tmp_path / "page/tokens.json").read_text("utf-8"))
    assert len(facts["symbols"]) == len(processor.tokenizer) and facts["sample_rate"] == RATE
    assert facts["blank"] == processor.tokenizer.blank_id


def string_of(index: int) -> np.ndarray:
    return synthesize_string(0, "test", index, 1, 4).samples


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a static server of the page in fp32 and in int8."""
    if not read_runtime(PLACES):
        pytest.skip("no onnxruntime-web: npm install onnxruntime-web, here or in the folder BIGFOOT_NODE")
    folder, teacher = tmp_path_factory.mktemp("pages"), load_model("tiny_teacher")
    audio = [LoadedUtterance("", "", "", string_of(index)) for index in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(PLACES[0])
        build_web(teacher).save(folder / "fp32")
        build_web(teacher, calibrate(teacher.model, padded_audio(audio, teacher.processor))).save(folder / "int8")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(pages: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium whose microphone gives a string of digits between silence, once."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: the extra [test]")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium with chromedriver: Debian: apt-get install chromium chromium-driver")
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("chromium")
    silence = np.zeros(RATE // 2, np.float32)
    soundfile.write(folder / "speech.wav", np.concatenate([silence, string_of(0), silence]), RATE, subtype="PCM_16")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'user'}",
        "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={folder / 'speech.wav'}%noloop",
    ):  # fmt: skip
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


def open_page(browser: Any, address: str) -> None:
    browser.get(address)
    for _ in range(600):
        if browser.find_element("id", "record").is_enabled():
            return
        time.sleep(0.1)
    pytest.fail(browser.find_element("id", "status").text)


def texts_of(waves: list[np.ndarray]) -> list[str]:
    transcriber = Transcriber(TorchEngine(load_model("tiny_teacher")))
    return [result.text for result in transcriber.transcribe(waves)]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_texts_are_those_of_the_model(precision: str, pages: str, browser: Any) -> None:
    open_page(browser, f"{pages}/{precision}/index.html")
    waves = [*map(string_of, range(3)), *([np.zeros(0, np.float32)] if precision == "fp32" else [])]
    script = """const done = arguments[arguments.length - 1];
        transcribe(new Float32Array(arguments[0])).then((found) => done(found.text), (error) => done(String(error)));"""
    found = [browser.execute_async_script(script, wave.tolist()) for wave in waves]
    assert found == [*texts_of(waves[:3]), ""][: len(waves)]


@pytest.mark.slow
def test_a_microphone(pages: str, browser: Any) -> None:
    open_page(browser, f"{pages}/fp32/index.html")
    record = browser.find_element("id", "record")
    record.click()
    time.sleep(len(string_of(0)) / RATE + 2.5)
    record.click()
    for _ in range(600):
        if "audio" in browser.find_element("id", "status").text:
            break
        time.sleep(0.1)
    assert browser.find_element("id", "text").text.strip() == texts_of([string_of(0)])[0].strip()
