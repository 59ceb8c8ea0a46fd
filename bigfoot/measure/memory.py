"""Memory that a model needs to transcribe: the peak of a process of its own.

Run as ``python -m bigfoot.measure.memory MODEL SECONDS BATCH THREADS``, this module is that process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bigfoot.errors import ModelError
from bigfoot.types import SAMPLE_RATE, Seconds


def measure_peak_memory(source: str | Path, seconds: Seconds = 10.0, *, batch: int = 1, threads: int = 1) -> int:
    """Load a model in a child process, run it once, and ask for the most memory the process held.

    Args:
        source: model folder, or any other name that ``open_runnable`` takes.
        seconds: audio of an utterance.
        batch: utterances of the pass.
        threads: of torch.

    Returns:
        Bytes, interpreter and libraries included: what a user's process would hold.

    Raises:
        ModelError: the child failed; its last words are quoted.
    """
    arguments = [str(argument) for argument in (source, seconds, batch, threads)]
    command = [sys.executable, "-m", "bigfoot.measure.memory", *arguments]
    # The child may start where this package is only reachable by a path relative to somewhere else.
    home = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(path for path in (home, os.environ.get("PYTHONPATH")) if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no output"])[-1]
        if done.returncode < 0:
            words = f"its process was ended by signal {-done.returncode}, most likely because memory ran out"
        raise ModelError(f"measuring the memory of {source} failed: {words}")
    return int(done.stdout.split()[-1])


def own_peak_memory() -> int:
    """Return the most bytes that this process has held so far, interpreter and libraries included."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux its maximum outlives exec, so a child would report its parent's peak.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(source: str, seconds: str, batch: str, threads: str) -> None:
    """Run as the child: load, run once, print the peak in bytes."""
    import torch

    from bigfoot.formats.folder import load_model
    from bigfoot.formats.onnx_ctc import is_onnx
    from bigfoot.measure.runtimes import open_runnable

    torch.set_num_threads(int(threads))
    try:
        model = open_runnable(source).model
    except ModelError:
        if not is_onnx(Path(source)):
            raise
        # A graph of another library's, which is a teacher and no exported file.
        model = load_model(source).model
    with torch.no_grad():
        model(torch.zeros(int(batch), round(float(seconds) * SAMPLE_RATE)))
    print(own_peak_memory())


if __name__ == "__main__":
    main(*sys.argv[1:5])
