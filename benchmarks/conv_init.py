"""Where grouped and shared convolutions begin, and whether it lasts: one table over variants and seeds.

    BIGFOOT_DATA=/folder/of/corpora python benchmarks/conv_init.py --config fsdd.yaml --seeds 1 2 3 --out runs/conv_init

Every variant is distilled on the same strings, in the same order, for as many steps. What is done is not done again,
so the command may be stopped, repeated, and given in parts (``--seeds 1`` in one shell, ``--seeds 2`` in another).
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from rich.progress import track

VARIANTS = {
    "dense": ["student.conv_groups=1"],
    **{
        f"groups {groups}, {init}": [f"student.conv_groups={groups}", f"student.conv_init={init}"]
        for groups in (2, 4)
        for init in ("slice", "permute", "least_squares")
    },
    **{
        f"sharing, {init}": [
            "student.conv_groups=1", "student.conv_sharing=[[1,2],[3,4],[5,6]]", f"student.conv_sharing_init={init}"
        ]
        for init in ("mean", "least_squares")
    },
}  # fmt: skip
SETTINGS = [
    "control=null", "trackers=[]", "data.num_train=1500", "data.batch_seconds=20", "distill.max_steps=100",
    "distill.warmup_steps=20", "distill.eval_every=50", "distill.checkpoint_every=50", "steps=[student,distill]",
]  # fmt: skip


def measure_variant(config: str, overrides: list[str], seed: int, run_dir: Path, data: Path) -> dict[str, Any]:
    """Distil one student and judge it on test.

    Args:
        config: YAML file.
        overrides: of the variant.
        seed: of the run.
        run_dir: where it is made.
        data: folder of the manifests, which all variants of a seed share.

    Returns:
        ``feature_error`` of the student as it was cut, on test audio; ``dev_wer`` by step; ``wer`` on test at the end,
        ``teacher_wer``, ``num_params``.
    """
    from bigfoot.data.batches import evaluation_batches
    from bigfoot.evaluation.evaluate import evaluate_accuracy
    from bigfoot.formats.folder import load_model
    from bigfoot.measure.feature_error import measure_feature_error
    from bigfoot.measure.size import count_params
    from bigfoot.models.feature_encoder import PaddedAudio
    from bigfoot.pipeline import run_pipeline
    from bigfoot.pipeline.settings import load_config

    run_dir.mkdir(parents=True, exist_ok=True)
    data.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "data").exists():
        (run_dir / "data").symlink_to(data.absolute())
    settings = load_config(config, [*SETTINGS, *overrides, f"seed={seed}", f"run_dir={run_dir}"])
    run_pipeline(settings, until="distill", config_path=config)
    teacher, begun, ended = (
        load_model(name) for name in (settings.teacher.path, run_dir / "student/model", run_dir / "distill/model")
    )
    test = data / "cuts_test.jsonl.gz"
    batches = [PaddedAudio(b.input_values, b.attention_mask) for b in evaluation_batches(test, teacher.processor, 8)]
    records = json.loads((run_dir / "distill/facts.json").read_text(encoding="utf-8"))["records"]
    return {
        "feature_error": measure_feature_error(begun.model, teacher.model, batches),
        "dev_wer": {str(record["step"]): record["dev_wer"] for record in records if "dev_wer" in record},
        "wer": evaluate_accuracy(ended, test, settings.evaluate, seed).error_rate.wer,
        "teacher_wer": evaluate_accuracy(teacher, test, settings.evaluate, seed).error_rate.wer,
        "num_params": count_params(begun.model),
    }


def render(found: dict[str, dict[int, dict[str, Any]]]) -> str:
    """A Markdown table: mean over the seeds, lowest and highest in brackets."""

    def cell(values: list[float], scale: float, digits: int) -> str:
        shown = [f"{scale * value:.{digits}f}" for value in (statistics.mean(values), min(values), max(values))]
        return f"{shown[0]} [{shown[1]}, {shown[2]}]"

    steps = sorted({step for runs in found.values() for run in runs.values() for step in run["dev_wer"]}, key=int)
    heads = ["variant", "parameters M", "feature error at the start", *(f"dev WER % at {s}" for s in steps[:-1])]
    heads += [f"test WER % at {steps[-1]}", "seeds"]
    lines = [f"| {' | '.join(heads)} |", "|:--" + "|--:" * (len(heads) - 1) + "|"]
    for name, runs in found.items():
        each = list(runs.values())
        cells = [name, f"{each[0]['num_params'] / 1e6:.3f}", cell([run["feature_error"] for run in each], 1, 3)]
        cells += [cell([run["dev_wer"][step] for run in each], 100, 1) for step in steps[:-1]]
        cells += [cell([run["wer"] for run in each], 100, 2), str(len(each))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table over all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="fsdd.yaml", help="YAML file of data, teacher and training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("runs/conv_init"))
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="further settings, the same for all variants")
    given = parser.parse_args()
    jobs = [(name, seed) for seed in given.seeds for name in given.variants]
    for name, seed in track(jobs, "variants"):
        file = given.out / name.replace(", ", "_").replace(" ", "_") / f"seed_{seed}.json"
        if not file.exists():
            overrides, data = [*VARIANTS[name], *given.overrides], given.out / "data" / f"seed_{seed}"
            facts = measure_variant(given.config, overrides, seed, file.with_suffix(""), data)
            file.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name in VARIANTS:
        folder = given.out / name.replace(", ", "_").replace(" ", "_")
        runs = {int(f.stem.removeprefix("seed_")): json.loads(f.read_text()) for f in sorted(folder.glob("*.json"))}
        if runs:
            found[name] = runs
    print(render(found))


if __name__ == "__main__":
    main()
