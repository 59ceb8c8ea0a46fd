"""Render the model card for the hub: description, usage, measurements, history."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypeGuard

from bigfoot.formats.folder import LoadedModel
from bigfoot.formats.registry import padding_changes_outputs
from bigfoot.report.render import escape, render_splits
from bigfoot.report.rows import Report, load_report
from bigfoot.text.tokenizers import CharTokenizer

_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[A-Za-z][A-Za-z0-9.+-]*", re.IGNORECASE)
"""A word to YAML: neither number nor truth value."""
_TAGS = ("speech", "bigfoot", "compression")


def render_card(loaded: LoadedModel, repository: str, license: str | None = None) -> str:
    """Write a model card.

    Args:
        loaded: the model with its history; if its folder is in a run, the run's report is included.
        repository: owner/name on the hub.
        license: of the weights, by the hub's identifiers; None if it is not stated.

    Returns:
        Markdown, with the hub's YAML header.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> card = render_card(load_model("tiny_teacher"), "me/digits", "apache-2.0")
        >>> card.splitlines()[1], "# digits" in card
        ('license: apache-2.0', True)
    """
    parts = [
        *_render_head(loaded, license), "", f"# {escape(repository.rpartition('/')[2])}", "", *_describe(loaded), "",
        "## Opening it", "", *_render_opening(loaded, repository), "",
        *_render_measures(loaded), *_render_history(loaded.history),
        "## Licence", "", _describe_licence(license),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _render_head(loaded: LoadedModel, license: str | None) -> list[str]:
    """Render the YAML header; its keys are listed at https://huggingface.co/docs/hub/model-cards."""
    task = ["automatic-speech-recognition"] if loaded.model.head is not None else ["feature-extraction"]
    head = [f"license: {license if _PLAIN.fullmatch(license) else json.dumps(license)}"] if license else []
    head += ["library_name: transformers", f"pipeline_tag: {task[0]}", "tags:"]
    return ["---", *head, *(f"- {tag}" for tag in [loaded.model.config.family, *_TAGS]), "---"]


def _describe(loaded: LoadedModel) -> list[str]:
    config, parameters = loaded.model.config, sum(p.numel() for p in loaded.model.parameters())
    head = f"a CTC head over {config.vocab_size} tokens" if config.ctc_head else "no head"
    rate = loaded.processor.sample_rate
    size = f"{config.num_hidden_layers} layers, {config.hidden_size} wide, {parameters / 1e6:.3g} M parameters"
    lines = [f"A {config.family} speech encoder: {size}, {head}, for audio of {rate:,} Hz in one channel."]
    if any(groups != 1 for groups in config.groups_of_convs):
        lines.append(f"Its convolutions have {config.groups_of_convs} groups.")
    if config.conv_sharing:
        lines.append(f"Its convolutions {config.conv_sharing} share kernels.")
    if config.small_weights is not None:
        lines.append(f"Its weights are {config.precision} on disk, and fp32 in memory.")
    return lines


def _render_opening(loaded: LoadedModel, repository: str) -> list[str]:
    own_code = not loaded.model.config.is_huggingface_shape or loaded.model.config.small_weights is not None
    opener = "AutoModelForCTC" if loaded.model.head is not None else "AutoModel"
    # transformers' CTC tokenizer supports characters only; others need bigfoot's tokenizer.
    kind = "AutoProcessor" if isinstance(loaded.processor.tokenizer, CharTokenizer) else "AutoFeatureExtractor"
    trust = ", trust_remote_code=True" if own_code else ""
    lines = [
        "```python", f"from transformers import {opener}, {kind}", "",
        f'model = {opener}.from_pretrained("{repository}"{trust})',
        f'processor = {kind}.from_pretrained("{repository}"{trust})',  # it reads config.json, too
        "```", "",
    ]  # fmt: skip
    if own_code:
        lines.append("The modelling code lies in this repository: transformers has no class for such a model.")
    elif padding_changes_outputs(loaded.model.config):
        lines.append(
            "In transformers' own class the padding of a batch changes this model's output: run one utterance at a "
            "time there."
        )
    return [*lines, f'With bigfoot, `bigfoot.load_model("{repository}")` loads it; its output is invariant to padding.']


def _find_report(loaded: LoadedModel) -> Report | None:
    """Render the report of the model's run."""
    folder = loaded.folder
    places = [] if folder is None else [folder, *folder.resolve().parents[:2]]
    found = next((place / "report" for place in places if (place / "report" / "report.json").exists()), None)
    return None if found is None else load_report(found)


def _render_measures(loaded: LoadedModel) -> list[str]:
    report = _find_report(loaded)
    if report is None:
        return []
    lines = [line.replace("## ", "### ", 1) for line in render_splits(report.rows)]
    return [*_render_corpus(report.config.get("data")), "## Measured", "", *lines]


def _render_corpus(data: object) -> list[str]:
    """Name the corpus and its splits, on which all numbers were measured."""
    if not isinstance(data, dict) or not data.get("corpus"):
        return []
    splits = [f"{split} {', '.join(map(str, names))}" for split in ("train", "dev", "test")
              if isinstance(names := data.get(f"{split}_splits"), list) and names]  # fmt: skip
    named = f" ({'; '.join(splits)})" if splits else ""
    labels = {"none": ", without transcripts", "teacher": ", on the teacher's transcripts"}
    how = labels.get(str(data.get("transcripts")), "")
    return ["## Data", "", f"Trained and evaluated on {escape(str(data['corpus']) + named)}{how}.", ""]


def _render_history(history: list[dict[str, Any]]) -> list[str]:
    if not history:
        return []
    lines = ["## How it was made", ""]
    for number, entry in enumerate(history, 1):
        losses = entry.get("losses") if isinstance(entry.get("losses"), dict) else {}
        facts = [f"{escape(str(name))} {weight:g}" for name, weight in (losses or {}).items() if _is_number(weight)]
        trained = [f"losses {', '.join(facts)}"] if facts else []
        for key, words in (("max_steps", "steps"), ("best_step", "best at step"), ("seconds", "seconds")):
            trained += [f"{words} {entry[key]:,}"] if _is_number(entry.get(key)) else []
        if _is_number(entry.get("best_dev_wer")):
            trained.append(f"WER on dev {entry['best_dev_wer']:.2%}")
        step = escape(str(entry.get("step", "step")))
        lines.append(f"{number}. {step}{': ' if trained else ''}{'; '.join(trained)}")
        changes = entry.get("changes")
        lines += [f"   - {escape(str(change))}" for change in changes] if isinstance(changes, list) else []
    return [*lines, ""]


def _is_number(value: object) -> TypeGuard[float]:
    # Whatever JSON holds: a whole number may be beyond all floating point, and NaN is in no order.
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _describe_licence(license: str | None) -> str:
    if license is not None:
        stated = f"{escape(license)}, as stated by its uploader."
        return f"{stated} The licence of the model it was made from may add conditions."
    return "Not stated. The licence of the model that it was made from applies to it."


def write_card(loaded: LoadedModel, repository: str, folder: Path, license: str | None = None) -> None:
    """Write ``README.md``; see ``render_card``."""
    (folder / "README.md").write_text(render_card(loaded, repository, license), encoding="utf-8")
