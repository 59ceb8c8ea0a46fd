"""A plan on the disk: a YAML file for each proposal, ready to run, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from bigfoot.config.files import find_config
from bigfoot.config.reading import read_yaml
from bigfoot.planner.budget import Budget
from bigfoot.planner.known import ORIGIN, KnownRow
from bigfoot.planner.measured import RUNTIMES, Bench
from bigfoot.planner.propose import Proposal
from bigfoot.report.files import encode_json, encode_text
from bigfoot.report.render import render_table
from bigfoot.storage.ownership import OWN_ONLY, MayReplace
from bigfoot.storage.replace import replace_folder

_STEPS = ["student", "distill", "finetune"]


@dataclass(frozen=True)
class Plan:
    """Proposals, and what they were made of.

    Args:
        teacher: as it was given.
        teacher_params: its parameters.
        budget: of the student.
        bench: how students were timed.
        processor_name: of this machine.
        base: YAML file or name of the configuration whose data and training the proposals take.
        rows: from which errors are expected.
        proposals: the lowest expected error first.
        own_rows: whether the rows are the user's own.
    """

    teacher: str
    teacher_params: int
    budget: Budget
    bench: Bench
    processor_name: str
    base: str
    rows: Sequence[KnownRow]
    proposals: Sequence[Proposal]
    own_rows: bool = False


def make_config(plan: Plan, proposal: Proposal) -> dict[str, Any]:
    """Return the configuration of a proposal: the base's data and training, the teacher and the student's shape.

    Args:
        plan: it is of.
        proposal: one of the plan's.
    """
    read = OmegaConf.to_container(read_yaml(find_config(plan.base)))
    base = {str(key): value for key, value in read.items()} if isinstance(read, dict) else {}
    candidate = proposal.counted.candidate
    given = {key: value for key, value in (base.get("student") or {}).items() if key == "init_seconds"}
    base |= {
        "run_dir": f"runs/plan/{proposal.name}",
        "teacher": {"path": plan.teacher},
        "student": {**given, **candidate.student},
        "steps": [*_STEPS, *(["quantize"] if candidate.int8 else [])],
    }
    return base | ({"quantize": {"precision": "int8_static"}} if candidate.int8 else {})


def render_plan(plan: Plan) -> str:
    """Write the plan as Markdown: the table, and what is not known."""
    heads = ["student", "layers", "width", "parameters M", "size MB", "GMACs/s", "real-time factor [quartiles]",
             "faster than the teacher", "expected WER over the teacher's, points [95 %]"]  # fmt: skip
    table = render_table(heads, [_cells(each) for each in plan.proposals])
    notes = "\n".join(f"- {note}" for note in list_unknown(plan))
    budget = _describe_budget(plan.budget)
    return "\n".join([f"# Students of {plan.teacher} within {budget}", "", *table, "", "Not known:", "", notes, ""])


def _cells(proposal: Proposal) -> list[str]:
    counted, speed, wer = proposal.counted, proposal.speed, proposal.expected
    shape = counted.candidate.shape
    return [
        proposal.name,
        str(shape.num_hidden_layers),
        str(shape.hidden_size),
        f"{counted.num_params / 1e6:.3g}",
        f"{proposal.num_bytes / 1e6:.3g}",
        f"{counted.macs / 1e9:.3g}",
        f"{speed.rtf:.3g} [{speed.low:.3g}, {speed.high:.3g}]",
        f"{proposal.faster.median:.2f}x [{proposal.faster.low:.2f}, {proposal.faster.high:.2f}]",
        f"{wer.points:+.1f} [{wer.low:+.1f}, {wer.high:+.1f}]",
    ]


def _describe_budget(budget: Budget) -> str:
    limits = {"size {:.4g} MB": budget.max_bytes and budget.max_bytes / 1e6, "real-time factor {:.3g}": budget.max_rtf,
              "{:.3g} GMACs/s": budget.max_macs and budget.max_macs / 1e9}  # fmt: skip
    return ", ".join(text.format(value) for text, value in limits.items() if value)


def list_unknown(plan: Plan) -> list[str]:
    """List what the plan does not know, a sentence each."""
    runtime, bench = RUNTIMES[plan.bench.runtime], plan.bench
    whose = "your runs" if plan.own_rows else f"{ORIGIN}; yours has {plan.teacher_params / 1e6:.3g} M"
    threads = f"{bench.threads} thread{'s' if bench.threads > 1 else ''}"
    notes = [
        f"The error: it is a regression over {len(plan.rows)} trained students ({whose}). Other speech, steps and "
        "losses move it by more than the proposals differ; the interval holds what differed among those students.",
        f"Other machines: times are of {plan.processor_name}, {threads} of {bench.runtime}, {bench.seconds:g} s of "
        f"audio, random weights. Sizes are of the {runtime.file}.",
        "Training: its time, and whether the steps of the base configuration are enough.",
    ]
    if beyond := [each.name for each in plan.proposals if each.expected.beyond]:
        notes.append(f"Cuts this deep: {', '.join(beyond)} leaves less of the teacher than any of those students.")
    if any(each.counted.candidate.int8 for each in plan.proposals):
        notes.append("What int8 costs: it is not in the expected error. bigfoot export judges it after training.")
    return notes


def save_plan(plan: Plan, folder: str | Path, may: MayReplace = OWN_ONLY) -> list[Path]:
    """Write ``plan.md``, ``plan.json`` and a YAML file for each proposal.

    Args:
        plan: what to write.
        folder: where; an earlier plan there is replaced.
        may: what else may be replaced.

    Returns:
        The YAML files.

    Raises:
        OutputError: the folder holds what is not bigfoot's, or a file of an earlier plan was changed.
    """
    configs = {f"{each.name}.yaml": _render_config(plan, each) for each in plan.proposals}
    contents = {"plan.json": encode_json(describe_plan(plan)), "plan.md": encode_text(render_plan(plan))}
    contents |= {name: encode_text(text) for name, text in configs.items()}

    def write(beside: Path) -> None:
        for name, content in contents.items():
            (beside / name).write_bytes(content)

    replace_folder(folder, write, may=may)
    return [Path(folder) / name for name in configs]


def _render_config(plan: Plan, proposal: Proposal) -> str:
    cells = _cells(proposal)
    head = (
        f"# bigfoot compress --config {proposal.name}.yaml\n#\n"
        f"# Planned by bigfoot plan for {_describe_budget(plan.budget)}: {cells[4]} MB, real-time factor {cells[6]},\n"
        f"# expected WER {cells[8]} points over the teacher's. Data and training are those of {plan.base}.\n"
    )
    return head + yaml.safe_dump(make_config(plan, proposal), sort_keys=False, default_flow_style=None, width=100)


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return plain containers for JSON."""
    proposals = [
        {
            "name": each.name,
            "student": dict(each.counted.candidate.student),
            "int8": each.counted.candidate.int8,
            "num_params": each.counted.num_params,
            "num_bytes": each.num_bytes,
            "macs_per_second": each.counted.macs,
            "real_time_factor": asdict(each.speed),
            "faster_than_teacher": asdict(each.faster),
            "times_fewer_macs": each.times_fewer_macs,
            "expected_points": asdict(each.expected),
        }
        for each in plan.proposals
    ]
    return {
        "teacher": plan.teacher,
        "budget": asdict(plan.budget),
        "runtime": plan.bench.runtime,
        "threads": plan.bench.threads,
        "seconds": plan.bench.seconds,
        "processor": plan.processor_name,
        "config": plan.base,
        "proposals": proposals,
        "unknown": list_unknown(plan),
        "rows": [asdict(row) for row in plan.rows],
    }
