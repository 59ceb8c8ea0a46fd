"""``bigfoot doctor``: what is broken on this machine, and the cure."""

from __future__ import annotations

import json

import typer

from bigfoot.cli.options import JsonOption


def doctor(json_output: JsonOption = False) -> None:
    """Check this machine, and print what is broken with its cure; the exit code is 1 then.

    Where this command itself does not start: python -m bigfoot.doctor.
    """
    from bigfoot.doctor import examine, findings_to_dict, render_findings

    findings = examine()
    typer.echo(json.dumps(findings_to_dict(findings), indent=2) if json_output else render_findings(findings))
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)
