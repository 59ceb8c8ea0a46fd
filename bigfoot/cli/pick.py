"""``bigfoot pick``: students out of a supernet, within a size and a speed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import ForceOption, may_replace
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError

if TYPE_CHECKING:
    from bigfoot.report.front import FrontPoint
    from bigfoot.study.pick import PickResult

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def read_amount(option: str, text: str | None, unit: str = "") -> int | None:
    """Read an amount with a unit; None for none.

    Args:
        option: that it was given for.
        text: such as ``5MB``.
        unit: that it may end with.

    Raises:
        ConfigError: it is no amount.

    Examples:
        >>> read_amount("--max-size", "5MB", "B"), read_amount("--max-macs", "80M")
        (5000000, 80000000)
    """
    if text is None:
        return None
    short = text.strip().upper().removesuffix(unit)
    number, factor = (short[:-1], _UNITS[short[-1]]) if short[-1:] in _UNITS and short else (short, 1)
    try:
        found = round(float(number) * factor)
    except (ValueError, OverflowError):
        found = 0
    if found <= 0:
        raise ConfigError([Problem(option, "no_amount", f"{text!r} is no amount such as 5M{unit}")])
    return found


def pick(
    run: Annotated[Path, typer.Argument(help="Folder of a run with the step supernet.", metavar="RUN")],
    out: Annotated[Path, typer.Argument(help="Folder for the students and the page.", metavar="OUT")],
    max_size: Annotated[str | None, typer.Option(help="Largest weight file, such as 5MB or 800KB.")] = None,
    max_rtf: Annotated[
        float | None, typer.Option(help="Most seconds of one thread of this machine per second of audio.", min=0.0)
    ] = None,
    max_macs: Annotated[
        str | None, typer.Option(help="Most multiply-accumulates per second of audio, such as 80M.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Students, spread over the sizes within the limits.")] = 1,
    evaluations: Annotated[int, typer.Option(min=2, help="Subnets whose error on dev is measured.")] = 64,
    dev_seconds: Annotated[float, typer.Option(min=1.0, help="Audio of dev that errors are measured on.")] = 600.0,
    finetune: Annotated[
        int, typer.Option(metavar="STEPS", min=0, help="Distil each student by itself for so many steps.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 7,
    force: ForceOption = False,
) -> None:
    """Write the students of the lowest error within a size and a speed, out of one training.

    RUN is a run with steps: [student, supernet], such as fsdd_supernet.yaml.
    Subnets are searched by evolution: WER measured on dev, size counted to the
    byte, speed from a table of parts that is measured on this machine once and
    kept in RUN. The limits apply to weights in fp32 or 8 bits, as the subnet has
    them, and to the speed of PyTorch with one thread.

    OUT gets student-1 (the largest), student-2, ..., each an ordinary model
    folder, and front.md, front.png, front.json. The same command resumes a
    stopped search. For example:

    bigfoot pick runs/fsdd_supernet picked --max-size 2MB --count 10
    """
    from bigfoot.report.front import render_front, save_front
    from bigfoot.storage.lock import locked
    from bigfoot.study.front import Limits
    from bigfoot.study.pick import PickRequest
    from bigfoot.study.pick import pick as search

    limits = Limits(read_amount("--max-size", max_size, "B"), max_rtf, read_amount("--max-macs", max_macs))
    may = may_replace(force)
    request = PickRequest(run, out, limits, count, evaluations, dev_seconds, finetune, seed, may)
    with locked(out, inside=True):
        result = search(request)
        points, heading = _points(result), _describe(request.run, result)
        save_front(points, heading, result.axis, out, may)
    typer.echo(render_front([point for point in points if point.folder], heading).split("## ")[0].strip())
    typer.echo(f"Front: {out / 'front.md'}  (plot and JSON beside it)")


def _points(result: PickResult) -> list[FrontPoint]:
    from bigfoot.report.front import FrontPoint
    from bigfoot.study.front import find_front

    written = {each.candidate.subnet.key: each for each in result.students}
    front = find_front(result.candidates, result.axis)
    points = []
    for each, on in zip(result.candidates, front, strict=True):
        student = written.get(each.subnet.key)
        points.append(FrontPoint(
            each.subnet.describe(), each.wer, each.costs.size_bytes, each.costs.real_time_factor,
            each.costs.macs_per_second, "" if student is None else student.folder.name,
            None if student is None or student.wer == each.wer else student.wer, on,
        ))  # fmt: skip
    return sorted(points, key=lambda point: (not point.folder, -point.size_bytes))


def _describe(run: Path, result: PickResult) -> str:
    from bigfoot.measure.speed import name_processor

    return (
        f"{len(result.candidates)} of about {result.num_subnets:.2g} subnets of {run}, judged by greedy WER on "
        f"{result.num_utterances} utterances of dev, which chose them too: report another split. RTF: seconds of one "
        f"thread of {name_processor()} per second of audio, in fp32, from a table of parts."
    )
