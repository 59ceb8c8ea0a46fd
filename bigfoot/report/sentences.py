"""Sentences under a table: protocols, paired differences, and the origin of the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from bigfoot.report.rows import Report, Row


def describe_protocols(rows: Sequence[Row]) -> list[str]:
    """Describe how the WERs of a table were measured, one line for each set of conditions.

    Examples:
        >>> from bigfoot.report.rows import Row
        >>> describe_protocols([Row("teacher", "teacher", "test", protocol="CTC", wer=0.1, num_words=90)])
        ['Protocol: CTC; decoder greedy; split test, 90 words.']
    """
    names: dict[str, list[str]] = {}
    for row in rows:
        parts = [row.protocol or "protocol not stated", f"decoder {row.decoder}", f"split {row.split}"]
        if row.num_words is not None:
            utterances = "" if row.num_utterances is None else f" in {row.num_utterances:,} utterances"
            parts[-1] += f", {row.num_words:,} {row.unit}s{utterances}"
        if row.bootstrap_unit:
            parts.append(f"95 % intervals by bootstrap over {row.bootstrap_unit}s")
        if row.transcripts:
            parts.append(f"transcripts {row.transcripts}")
        if row.wer is not None:
            names.setdefault("; ".join(parts), []).append(row.name)
    if len(names) == 1:
        return [f"Protocol: {conditions}." for conditions in names]
    return [f"Protocol of {', '.join(models)}: {conditions}." for conditions, models in names.items()]


def describe_differences(rows: Sequence[Row]) -> list[str]:
    """Describe each model against its teacher, and its decoder against greedy, with a verdict.

    Examples:
        >>> from bigfoot.report.rows import Row
        >>> describe_differences([Row("student", "distill", "test", wer_difference=0.01)])
        ['student against the teacher: +1.00 points of WER.']
    """
    sentences = []
    for row in rows:
        if row.wer_difference is not None:
            interval = (row.wer_difference_low, row.wer_difference_high)
            sentences.append(_describe_difference(row, "against the teacher", row.wer_difference, interval))
        if row.greedy_difference is not None:
            interval = (row.greedy_difference_low, row.greedy_difference_high)
            sentences.append(_describe_difference(row, "against greedy decoding", row.greedy_difference, interval))
    return sentences


def _describe_difference(
    row: Row, against: str, difference: float, interval: tuple[float | None, float | None]
) -> str:
    rate = "WER" if row.unit == "word" else "PER"
    sentence, (low, high) = f"{row.name} {against}: {100 * difference:+.2f} points of {rate}", interval
    if low is not None and high is not None:
        verdict = "worse" if low > 0 else "better" if high < 0 else "no difference shown"
        unit = f" over {row.bootstrap_unit}s" if row.bootstrap_unit else ""
        shown = f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}, paired bootstrap{unit}"
        sentence += f" ({shown}): {verdict}"
    return f"{sentence}."


def describe_origin(report: Report) -> list[str]:
    """Describe the machine, the versions and the configurations of the report."""
    lines = [f"{key.replace('_', ' ')}: {value}" for key, value in report.machine.items()]
    versions: dict[str, list[str]] = {}
    for row in report.rows:
        for package, version in row.versions.items():
            if version not in versions.setdefault(package, []):
                versions[package].append(version)
    if versions:
        lines.append("versions: " + ", ".join(f"{name} {' / '.join(found)}" for name, found in versions.items()))
    configs = {row.config_path: row.seed for row in report.rows if row.config_path}
    return lines + [f"config: {path}" + ("" if seed is None else f", seed {seed}") for path, seed in configs.items()]
