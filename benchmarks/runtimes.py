"""A model in every runtime that ``bigfoot export`` writes for: texts, size, speed and memory in one table.

    BIGFOOT_DATA=/folder/of/corpora python benchmarks/runtimes.py tiny_teacher --out /tmp/runtimes

FSDD's test strings are transcribed by a process for each row, one thread, one string at a time, by the runtime itself:
its own decoding where it has one. Texts are compared with those of ``Transcriber`` on the fp32 file. Speed is the best
of ``--rounds``, rows in turn, in seconds of processor time, so that other work on the machine counts little (the
browser's by the clock); memory is the most that the process held (Linux), the samples and Python among it. A
runtime that is not installed, or whose release cannot read such a model, is named with its reason.
"""

from __future__ import annotations

import argparse
import base64
import functools
import http.server
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

Transcribe = Callable[[np.ndarray], str]
"""From the samples of an utterance to its text."""


def open_bigfoot(place: Path) -> Transcribe:
    """Our own engine, ONNX Runtime or OpenVINO."""
    from bigfoot.runtime.transcriber import Transcriber

    transcriber = Transcriber(place, threads=1)
    return lambda wave: transcriber.transcribe([wave])[0].text


def open_program(place: Path) -> Transcribe:
    """A program of ``torch.export``, decoded by the vocabulary in its facts."""
    import torch

    from bigfoot.audio.files import normalize_waveform
    from bigfoot.models.program import read_program
    from bigfoot.runtime.metadata import read_facts

    torch.set_num_threads(1)
    program, found = read_program(place)
    facts = read_facts(found, str(place))

    @torch.no_grad()
    def transcribe(wave: np.ndarray) -> str:
        given = torch.from_numpy(normalize_waveform(wave) if facts.normalizes else wave)[None]
        logits, frames = program(given, torch.tensor([len(wave)]))
        return facts.tokenizer.decode_ctc(logits[0, : int(frames[0])].argmax(-1).tolist())

    return transcribe


def open_sherpa(place: Path) -> Transcribe:
    """sherpa-onnx."""
    import sherpa_onnx

    recognizer = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(place / "model.onnx"), tokens=str(place / "tokens.txt"), num_threads=1
    )

    def transcribe(wave: np.ndarray) -> str:
        stream = recognizer.create_stream()
        stream.accept_waveform(16_000, wave)
        recognizer.decode_stream(stream)
        return str(stream.result.text)

    return transcribe


def open_onnx_asr(place: Path) -> Transcribe:
    """onnx-asr, where it has models of the type ``wav2vec2-ctc``."""
    import onnx_asr
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnx_asr.load_model("wav2vec2-ctc", place, sess_options=options, providers=["CPUExecutionProvider"])
    return lambda wave: str(model.recognize(wave, sample_rate=16_000))


class Foreign(NamedTuple):
    """A runtime of another language, given all samples at once.

    Args:
        run: from the folder of the model and all samples to texts, seconds of computing, bytes at the most, version.
    """

    run: Callable[[Path, list[np.ndarray]], tuple[list[str], float, float, str]]


def run_transformers_js(place: Path, waves: list[np.ndarray]) -> tuple[list[str], float, float, str]:
    """transformers.js under Node, in ``BIGFOOT_NODE``."""
    samples = place.parent / "waves.f32"
    np.concatenate(waves).astype(np.float32).tofile(samples)
    script = Path(__file__).resolve().parents[1] / "tests/export/run_transformers_js.mjs"
    command = ["node", script, place.resolve(), samples.resolve(), json.dumps([len(wave) for wave in waves])]
    node = os.environ.get("BIGFOOT_NODE", ".")
    done = subprocess.run(command, cwd=node, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["texts"], found["seconds"], found["bytes"] / 1e6, found["version"]


def run_web(place: Path, waves: list[np.ndarray]) -> tuple[list[str], float, float, str]:
    """The page in Chromium, headless; memory is JavaScript's, with the graph's."""
    from selenium import webdriver

    from bigfoot.export.web import PACKAGE

    handler = functools.partial(Quiet, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        driver = webdriver.Chrome(options=options)
        driver.set_script_timeout(300)
        try:
            driver.get(f"http://127.0.0.1:{server.server_port}/index.html")
            while not driver.find_element("id", "record").is_enabled():
                time.sleep(0.1)
            found = [driver.execute_async_script(TRANSCRIBE, base64.b64encode(wave).decode()) for wave in waves]
            version = f"{PACKAGE} in Chromium {driver.capabilities['browserVersion'].split('.')[0]}"
        finally:
            driver.quit()
            server.shutdown()
    if errors := [text for text, _ in found if text is None]:
        raise RuntimeError(f"{len(errors)} strings failed")
    return [text for text, _ in found], sum(each for _, each in found) / 1000, float("nan"), version


TRANSCRIBE = """const done = arguments[arguments.length - 1];
const bytes = Uint8Array.from(atob(arguments[0]), (character) => character.charCodeAt(0));
const samples = new Float32Array(bytes.buffer);
transcribe(samples).then((found) => done([found.text, found.milliseconds]), () => done([null, 0]));
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A static server without a log."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Row(NamedTuple):
    """A row of the table.

    Args:
        runtime: its name.
        package: whose version is shown.
        place: to write, below ``--out``.
        options: of ``bigfoot export``; ``CALIBRATE`` stands for the manifest of dev.
        transcribe: opens it, or runs it all.
    """

    runtime: str
    package: str
    place: str
    options: tuple[str, ...]
    transcribe: Callable[[Path], Transcribe] | Foreign


INT8 = ("--int8", "static", "--calibrate", "CALIBRATE")
ROWS = [
    Row("bigfoot (ONNX Runtime)", "onnxruntime", "fp32.onnx", (), open_bigfoot),
    Row("bigfoot (ONNX Runtime)", "onnxruntime", "int8.onnx", INT8, open_bigfoot),
    Row("bigfoot (OpenVINO)", "openvino", "fp32.xml", ("--to", "openvino"), open_bigfoot),
    Row("bigfoot (OpenVINO)", "openvino", "int8.xml", ("--to", "openvino", *INT8), open_bigfoot),
    Row("OpenVINO, --tune", "openvino", "tuned.xml", ("--to", "openvino", "--tune", *INT8[2:]), open_bigfoot),
    Row("torch.export", "torch", "fp32.pt2", ("--to", "torch-export"), open_program),
    Row("sherpa-onnx", "sherpa-onnx", "sherpa-fp32", ("--to", "sherpa"), open_sherpa),
    Row("sherpa-onnx", "sherpa-onnx", "sherpa-int8", ("--to", "sherpa", *INT8), open_sherpa),
    Row("onnx-asr", "onnx-asr", "onnx-asr-fp32", ("--to", "onnx-asr"), open_onnx_asr),
    Row("onnx-asr", "onnx-asr", "onnx-asr-int8", ("--to", "onnx-asr", *INT8), open_onnx_asr),
    Row("LiteRT", "ai-edge-litert", "litert.tflite", ("--to", "litert"), open_bigfoot),
    Row("ExecuTorch", "executorch", "executorch.pte", ("--to", "executorch"), open_bigfoot),
    Row("transformers.js", "node", "js-fp32", ("--to", "transformers-js"), Foreign(run_transformers_js)),
    Row("transformers.js", "node", "js-int8", ("--to", "transformers-js", *INT8), Foreign(run_transformers_js)),
    Row("web page", "web", "web-fp32", ("--to", "web"), Foreign(run_web)),
    Row("web page", "web", "web-int8", ("--to", "web", *INT8), Foreign(run_web)),
]


def run_row(row: Row, folder: Path) -> dict[str, object]:
    """Transcribe all, in a process of its own."""
    with np.load(folder / "waves.npz") as found:
        waves = [found[name] for name in sorted(found.files)]
    if isinstance(row.transcribe, Foreign):
        texts, seconds, megabytes, version = row.transcribe.run(folder / row.place, waves)
        return {"texts": texts, "seconds": seconds, "megabytes": megabytes, "version": version}
    transcribe = row.transcribe(folder / row.place)
    transcribe(waves[0])
    start = time.process_time()
    texts = [transcribe(wave) for wave in waves]
    seconds = time.process_time() - start
    peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return {"texts": texts, "seconds": seconds, "megabytes": int(peak) / 1024, "version": version_of(row.package)}


def prepare(model: str, folder: Path) -> float:
    """Write the samples of the test strings and all files; seconds of audio come back."""
    from bigfoot.cli.application import app
    from bigfoot.data.batches import read_utterances
    from bigfoot.data.corpora import prepare_data
    from bigfoot.data.settings import DataConfig

    config = DataConfig(corpus="fsdd", num_train=4, num_dev=32, num_test=260)
    prepared = prepare_data(config, seed=1, folder=folder / "data")
    waves = [item.samples for item in read_utterances(prepared.manifests["test"])]
    np.savez(folder / "waves.npz", **{f"{index:05}": wave for index, wave in enumerate(waves)})
    for row in ROWS:
        if not (folder / row.place).exists():
            options = [str(prepared.manifests["dev"]) if word == "CALIBRATE" else word for word in row.options]
            try:
                app(["export", model, str(folder / row.place), *options], standalone_mode=False)
            except Exception as error:  # Its row has the reason.
                print(f"{row.place}: {error}", file=sys.stderr)
    return sum(map(len, waves)) / 16_000


def measure(folder: Path, rounds: int) -> dict[str, dict]:
    """What each row's process found, by its place: the fastest round, or its error."""
    found: dict[str, dict] = {}
    for _ in range(rounds):
        for index, row in enumerate(ROWS):
            command = [sys.executable, __file__, "--row", str(index), "--out", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                found[row.place] = {"error": reason}
                continue
            result = json.loads(done.stdout.splitlines()[-1])
            if row.place not in found or result["seconds"] < found[row.place]["seconds"]:
                found[row.place] = result
    return found


def version_of(package: str) -> str:
    """The installed version; of a checkout on the path, that of the release that it stands in front of."""
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return "not installed"
    module = sys.modules.get(package.replace("-", "_"))
    installed = module is None or str(module.__file__).startswith(str(found.locate_file("")))
    return found.version if installed else f"checkout after {found.version}"


def print_table(folder: Path, found: dict[str, dict], audio: float) -> None:
    """Print the rows as Markdown."""
    expected = found["fp32.onnx"]["texts"]
    print(f"{len(expected)} strings, {audio:.0f} s; {platform.machine()}, Python {platform.python_version()}\n")
    print("| runtime | version | file or folder | texts that differ | MB | x real time | peak MB |")
    print("|:--|:--|:--|--:|--:|--:|--:|")
    for row in ROWS:
        place, result = folder / row.place, found[row.place]
        if "error" in result:
            print(f"| {row.runtime} | {version_of(row.package)} | {row.place} | {result['error']} | | | |")
            continue
        differ = sum(ours.split() != theirs.split() for ours, theirs in zip(result["texts"], expected, strict=True))
        files = [place, place.with_suffix(".bin")] if place.suffix == ".xml" else [place]
        inside = [file for file in place.rglob("*") if file.is_file() and file.parent.name != "ort"]
        size = sum(file.stat().st_size for file in (inside if place.is_dir() else files)) / 1e6
        print(
            f"| {row.runtime} | {result['version']} | {row.place} | {differ} | {size:.1f} | "
            f"{audio / result['seconds']:.0f} | {result['megabytes']:.0f} |"
        )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="tiny_teacher")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row is not None:
        print(json.dumps(run_row(ROWS[arguments.row], arguments.out)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    audio = prepare(arguments.model, arguments.out)
    print_table(arguments.out, measure(arguments.out, arguments.rounds), audio)


if __name__ == "__main__":
    main()
