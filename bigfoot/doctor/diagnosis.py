"""Runs every check, the dangerous ones in child processes, and collects their findings."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from bigfoot.doctor.checks import choose_probes
from bigfoot.doctor.findings import Finding
from bigfoot.doctor.probes import install_again
from bigfoot.doctor.surroundings import count_processors, look_around
from bigfoot.install import reinstall_hint

TIMEOUT = 240.0
"""Seconds for a child: a busy machine is slow, not broken."""


def examine(timeout: float = TIMEOUT) -> list[Finding]:
    """Check the machine and every package.

    Args:
        timeout: seconds after which a package that does not finish loading is called broken.

    Returns:
        Findings in a fixed order, none missing, whatever the packages do.
    """
    probes = choose_probes()
    # As many as there are processors: more would only slow each other down.
    with ThreadPoolExecutor(min(len(probes), count_processors())) as pool:
        children = pool.map(lambda name: ask_child(name, timeout), probes)
        around = list(look_around())
        return explain([*around, *(finding for found in children for finding in found)])


def ask_child(name: str, timeout: float = TIMEOUT, skip: int = 0) -> list[Finding]:
    """Run one of ``PROBES`` in a process of its own.

    Args:
        name: of the probe.
        timeout: seconds.
        skip: checks of the probe to leave out.

    Returns:
        Its findings. Where it died or hung, what it was checking is broken, and another child checks the rest.
    """
    # Behind the rest of the path: the child should find the packages that its parent would.
    home = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.append({home!r}); from bigfoot.doctor.probes import main; main({name!r}, {skip})"
    command = [sys.executable, "-c", code]
    advice = ""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
        output, fate = done.stdout, _last_words(done) if done.returncode else ""
    except subprocess.TimeoutExpired as late:
        output, fate = late.stdout or b"", f"does not finish within {timeout:g} s"
        advice = "run this again while the machine is idle; if it hangs then too: "
    found, dead = _read(output)
    if dead is not None:
        found.append(Finding(dead, "broken", fate, advice + install_again(dead)))
        found += ask_child(name, timeout, skip + len(found))
    elif fate and not found and not skip:
        # It did not even reach its first check.
        found = [Finding(name, "broken", fate, reinstall_hint())]
    return found


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return f"kills the process that loads it ({signal.Signals(-done.returncode).name})"
    words = done.stderr.decode(errors="replace").strip().splitlines()
    return f"ends the process that loads it ({words[-1] if words else f'exit code {done.returncode}'})"


def _read(output: bytes) -> tuple[list[Finding], str | None]:
    """Findings, and the check that was started and did not end."""
    found: list[Finding] = []
    unfinished: str | None = None
    for line in output.decode(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the line at which it was killed
            continue
        unfinished = entry.get("starts")
        if unfinished is None:
            found.append(Finding(**entry))
    return found, unfinished


def explain(findings: Sequence[Finding]) -> list[Finding]:
    """Send those who are not at fault to the one who is: the deepest package on the way that is broken itself.

    Args:
        findings: of all packages.

    Returns:
        The same, with the cure of another where it is to blame.

    Examples:
        >>> sick = Finding("torchaudio", "broken", "no CUDA", "pip uninstall torchaudio", suspects=["torch"])
        >>> explain([sick, Finding("transformers", "broken", "fails", suspects=["torchaudio", "torch"])])[1].cure
        'mend torchaudio first: pip uninstall torchaudio'
    """
    cures = {finding.name: finding.cure for finding in findings if finding.state == "broken"}
    found = []
    for finding in findings:
        blamed = [name for name in finding.suspects if name in cures]
        if blamed:
            finding = replace(finding, cure=f"mend {blamed[-1]} first: {cures[blamed[-1]]}")
        found.append(finding)
    return found
