"""A server under load: requests a second, latency, errors, whether texts are the command line's, memory.

    bigfoot export tiny_teacher student.onnx
    python benchmarks/serve_load.py student.onnx --requests 5000 --clients 16

Strings of synthetic digits (the extra [synthetic]) are sent by so many clients at once, each with one request in
flight, to a server of its own process on this machine, which is stopped at the end.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from bigfoot.data.synthetic import synthesize_string
from bigfoot.runtime.transcriber import Transcriber

FIELD = '--XX\r\nContent-Disposition: form-data; name='
HEAD = f'{FIELD}"model"\r\n\r\nm\r\n{FIELD}"file"'


def send(host: str, content: bytes) -> tuple[int, str, float]:
    """Status, text and seconds of a request."""
    body = HEAD.encode() + b'; filename="a"\r\n\r\n' + content + b"\r\n--XX--\r\n"
    start = time.perf_counter()
    connection = http.client.HTTPConnection(host, timeout=120)
    connection.request("POST", "/v1/audio/transcriptions", body, {"Content-Type": "multipart/form-data; boundary=XX"})
    answer = connection.getresponse()
    text = json.loads(answer.read()).get("text", "")
    connection.close()
    return answer.status, text, time.perf_counter() - start


def memory_of(process: int) -> float:
    """Megabytes that a process holds now (Linux)."""
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


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
    found = re.search(r"http://(\S+)", server.stderr.readline())
    assert found is not None
    host = found[1]
    with ThreadPoolExecutor(arguments.clients) as pool:

        def ask(index: int) -> tuple[int, str, float]:
            return send(host, contents[index % len(contents)])

        list(pool.map(ask, range(len(contents))))
        before, start = memory_of(server.pid), time.perf_counter()
        answers = list(pool.map(ask, range(arguments.requests)))
        seconds, after = time.perf_counter() - start, memory_of(server.pid)
    server.terminate()
    server.wait()
    errors = sum(status != 200 for status, _, _ in answers)
    wrong = sum(text != expected[index % len(expected)] for index, (_, text, _) in enumerate(answers))
    middle, late = np.quantile([latency for _, _, latency in answers], [0.5, 0.99])
    print(
        f"{len(answers)} requests by {arguments.clients} clients: {len(answers) / seconds:.1f} a second, p50 "
        f"{1000 * middle:.0f} ms, p99 {1000 * late:.0f} ms; {errors} errors, {wrong} other texts; "
        f"memory {before:.0f} -> {after:.0f} MB; exit code {server.returncode}"
    )


if __name__ == "__main__":
    main()
