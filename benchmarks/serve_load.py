"""A server under load: requests a second, latency, errors, whether texts are the command line's, memory.

    bigfoot export tiny_teacher student.onnx
    python benchmarks/serve_load.py student.onnx --requests 5000 --clients 16

Strings of synthetic digits (the extra [synthetic]) are sent by so many clients of the package openai at once, each with
one request in flight, to a server of its own process on this machine, which is stopped at the end. Every twentieth
upload is broken and should get status 400.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openai
import soundfile

from bigfoot.data.synthetic import synthesize_string
from bigfoot.runtime.transcriber import Transcriber

BROKEN_EACH = 20


@dataclass(frozen=True)
class Answer:
    """Of one request: its status, its text, the seconds that it took, and the server's memory behind it in MB."""

    status: int
    text: str
    seconds: float
    megabytes: float


def send(client: openai.OpenAI, content: bytes, process: int) -> Answer:
    """Send a recording, and wait for its text."""
    start, status, text = time.perf_counter(), 200, ""
    try:
        text = client.audio.transcriptions.create(model="m", file=("a.wav", content)).text
    except openai.APIStatusError as error:
        status = error.status_code
    except openai.APIConnectionError:
        status = 0
    return Answer(status, text, time.perf_counter() - start, memory_of(process))


def memory_of(process: int) -> float:
    """Megabytes that a process holds now (Linux)."""
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def describe(answers: list[Answer], expected: list[str], seconds: float) -> str:
    """Rate, latency, what was lost, and memory over the run."""
    broken = answers[::BROKEN_EACH]
    whole = [(index, answer) for index, answer in enumerate(answers) if index % BROKEN_EACH]
    errors = sum(answer.status != 200 for _, answer in whole)
    wrong = sum(answer.status == 200 and answer.text != expected[index % len(expected)] for index, answer in whole)
    middle, late = np.quantile([answer.seconds for _, answer in whole], [0.5, 0.99])
    step = max(1, len(answers) // 10)
    memory = ", ".join(f"{answer.megabytes:.0f}" for answer in answers[step - 1 :: step])
    return (
        f"{len(answers)} requests: {len(answers) / seconds:.1f} a second, p50 {1000 * middle:.0f} ms, p99 "
        f"{1000 * late:.0f} ms; {errors} errors and {wrong} other texts of {len(whole)}; "
        f"{sum(answer.status == 400 for answer in broken)} of {len(broken)} broken uploads got 400\n"
        f"memory at each tenth: {memory} MB"
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.wav" for index in range(40)]
        for index, path in enumerate(paths):
            soundfile.write(path, synthesize_string(0, "test", index).samples, 16_000)
        expected = [result.text for result in Transcriber(arguments.model, arguments.threads).transcribe(paths)]
        contents = [path.read_bytes() for path in paths]
    options = ["--port", "0", "--threads", str(arguments.threads)]
    command = [sys.executable, "-m", "bigfoot", "serve", f"m={arguments.model}", *options]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    found = re.search(r"http://\S+", server.stderr.readline())
    assert found is not None
    client = openai.OpenAI(base_url=f"{found[0]}/v1", api_key="none", max_retries=0, timeout=120)

    def ask(index: int) -> Answer:
        content = contents[index % len(contents)]
        return send(client, content if index % BROKEN_EACH else content[:30], server.pid)

    with ThreadPoolExecutor(arguments.clients) as pool:
        list(pool.map(ask, range(1, BROKEN_EACH)))
        start = time.perf_counter()
        answers = list(pool.map(ask, range(arguments.requests)))
        seconds = time.perf_counter() - start
    server.terminate()
    server.wait()
    print(f"{arguments.clients} clients, {arguments.threads} threads; {describe(answers, expected, seconds)}")
    print(f"exit code {server.returncode}")


if __name__ == "__main__":
    main()
