"""Findings, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One line.

    Args:
        name: what was checked.
        state: ``ok``, ``note`` (works, with a limitation) or ``broken``.
        value: what was seen.
        cure: a command or a sentence; empty where there is nothing to do.
        suspects: packages that may be to blame where this one cannot be loaded.
    """

    name: str
    state: str
    value: str
    cure: str = ""
    suspects: Sequence[str] = ()


def findings_to_dict(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the output of ``bigfoot doctor --json``.

    Examples:
        >>> findings_to_dict([Finding("torch", "ok", "2.13.0")])["ok"]
        True
    """
    return {
        "ok": all(finding.state != "broken" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }


def render_findings(findings: Sequence[Finding]) -> str:
    """Write a table, each cure below its line, and what it comes to in the last.

    Examples:
        >>> print(render_findings([Finding("disk", "broken", "0.1 GB free", "make room")]))
        broken  disk  0.1 GB free
                      -> make room
        <BLANKLINE>
        1 thing is broken: disk
    """
    wide = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<6}  {finding.name:<{wide}}  {finding.value}")
        if finding.cure:
            lines.append(f"{'':<{wide + 10}}-> {finding.cure}")
    broken = [finding.name for finding in findings if finding.state == "broken"]
    count = "1 thing is" if len(broken) == 1 else f"{len(broken)} things are"
    return "\n".join([*lines, "", f"{count} broken: {', '.join(broken)}" if broken else "Nothing is broken."])
