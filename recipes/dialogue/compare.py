"""Compare runs of a dialogue recipe: what words give, what speech gives, and what compression costs.

    python recipes/dialogue/compare.py runs/dialogue/text runs/dialogue/speech [MORE ...]

The first run reads transcripts, the second gets speech, and the model of its last stage counts; the others are only
listed. The time to the first token is measured in interleaved rounds of one process, on one thread, each model on the
same prompts; ``faster`` is the ratio to the model that gets speech, round by round, with quartiles. Exits with 1 where
speech is not 10 points better than every guess from words, with 95 % intervals apart.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    from bigfoot.config import read_settings
    from bigfoot.formats.speech_llm import load_speech_llm
    from bigfoot.measure.speed import ModelSpeed, summarize_times, time_rounds, torch_threads
    from bigfoot.report.rows import load_report
    from bigfoot.tasks.speech_llm.examples import read_examples
    from bigfoot.tasks.speech_llm.facts import prepare_first_token
    from bigfoot.tasks.speech_llm.prompts import PromptBuilder
    from bigfoot.tasks.speech_llm.settings import SpeechLLMConfig

LEAD = 0.10
"""By which speech must pass the words, a share of macro F1."""
PROMPTS = 8
COLUMNS = {"encoder_M_params": "encoder M", "embeddings_per_second": "embeddings/s", "size_MB": "size MB"}


def collect(run: Path) -> dict[str, dict[str, Any]]:
    """Return the models and the guesses of a run's report, by name: metric, its interval, and facts."""
    found, report = {}, load_report(run / "report")
    for task, row in zip(report.tasks, report.rows, strict=True):
        metric = task.get("metric", "macro_f1")
        for name, metrics in task.get("floors", {}).items():
            low, high = task["floor_intervals"][name]
            found[f"guess: {name}"] = {"value": metrics[metric], "low": low, "high": high}
        value = {"value": task["metrics"][metric], "low": task["interval"][0], "high": task["interval"][1]}
        facts = {"folder": run / task["name"] / "model", "size_MB": (row.size_bytes or 0) / 1e6}
        found[f"{run.name}: {task['name']}"] = value | facts | task["metrics"]
    return found


def measure(folders: dict[str, Path], run: Path, rounds: int) -> dict[str, ModelSpeed]:
    """Time the first tokens of models, on the prompts of a run.

    Args:
        folders: of models, by name; the first is what the others are compared with.
        run: its configuration names turns and prompts.
        rounds: of all models.
    """
    config, _ = read_settings(SpeechLLMConfig, run / "config.yaml")
    examples = read_examples(config.data.test, config)[:PROMPTS]
    passes = {}
    for name, folder in folders.items():
        loaded = load_speech_llm(folder, trust_remote_code=config.language_model.trust_remote_code)
        prompts = prepare_first_token(PromptBuilder(loaded, config.data), examples)
        passes[name] = partial(lambda each: [one() for one in each], prompts)
    with torch_threads(1):
        times = time_rounds(passes, rounds)
    first = next(iter(times.values()))
    return {name: summarize_times(first, own, len(examples)) for name, own in times.items()}


def show(name: str, row: dict[str, Any], speed: ModelSpeed | None) -> str:
    """Format a row."""
    facts = "".join(f"{row[key]:>14.4g}" if key in row else f"{'':>14}" for key in COLUMNS)
    ratio = f"{speed.speedup:>8.2f} [{speed.speedup_low:.2f}, {speed.speedup_high:.2f}]" if speed else ""
    return f"{name:<30}{row['value']:>8.3f} [{row['low']:.3f}, {row['high']:.3f}]{facts}{ratio}"


def main() -> None:
    """Read, measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=9, help="of the time to the first token")
    given = parser.parse_args()
    runs = [run for run in given.runs if (run / "report" / "report.json").is_file()]
    tables = [collect(run) for run in runs]
    models = {name: row["folder"] for table in tables[1:] for name, row in table.items() if "folder" in row}
    speech = [name for name, row in tables[1].items() if "folder" in row][-1]
    speeds = measure({speech: models[speech], **models}, runs[1], given.rounds)
    header = "".join(f"{name:>14}" for name in COLUMNS.values())
    print(f"{'model':<30}{'macro F1 [95 %]':>23}{header}  faster to first token")
    rows = {name: row for table in tables for name, row in table.items()}
    print("\n".join(show(name, row, speeds.get(name)) for name, row in rows.items()))
    found, words = rows[speech], list(tables[0].values())
    lead = found["value"] - max(row["value"] for row in words)
    apart = found["low"] > max(row["high"] for row in words)
    print(f"speech is {100 * lead:+.1f} points against the best of words alone; intervals apart: {apart}")
    if lead < LEAD or not apart:
        raise SystemExit(1)


if __name__ == "__main__":
    with plain_errors():
        main()
