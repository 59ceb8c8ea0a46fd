"""The transcripts that training learns from: the given ones, or the teacher's own where there are none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import PartialState

from bigfoot.audio.pauses import LONGEST_PIECE
from bigfoot.config import Problem, to_dict
from bigfoot.data.batches import evaluation_batches
from bigfoot.data.manifests import PreparedData, show_progress, write_relabelled
from bigfoot.decoding.greedy import Transcripts, transcribe_batches
from bigfoot.decoding.spoken import transcribe_by_decoder
from bigfoot.errors import DataError
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.error_rate import count_errors
from bigfoot.pipeline.context import Labels
from bigfoot.pipeline.fingerprints import fingerprint, fingerprint_files
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.registry import STEPS
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.step import get_step
from bigfoot.storage.digests import describe_damage, digest_file
from bigfoot.storage.state import forget_state, read_state, refuse_file, write_state

log = logging.getLogger("bigfoot")

LABELS_FILE = "labels.json"


@dataclass(frozen=True)
class _SplitFacts:
    """How a split was transcribed; ``mean_confidence`` is None where it was not."""

    num_utterances: int
    num_labelled: int
    mean_confidence: float | None


@dataclass(frozen=True)
class _State:
    """``labels.json``.

    Args:
        fingerprint: of all that decides what is in the manifests.
        splits: how each was transcribed.
        files: digests of the manifests, by name.
    """

    fingerprint: str
    splits: dict[str, _SplitFacts]
    files: dict[str, str]


def wants_labels(config: Config) -> bool:
    """Whether any step of a run learns from transcripts.

    Args:
        config: of the run.

    Examples:
        >>> wants_labels(Config(steps=["student", "distill"])), wants_labels(Config(steps=["student", "finetune"]))
        (False, True)
    """
    return any(get_step(name).reads_labels(config) for name in dict.fromkeys(config.steps) if name in STEPS)


def transcript_problems(plan: Plan) -> Iterator[Problem]:
    """Without transcripts the teacher has to write them.

    Args:
        plan: of the run.

    Yields:
        The problem that it cannot.
    """
    teacher, given = plan.teacher, plan.config.data.transcripts
    if teacher is None or given == "given" or not wants_labels(plan.config):
        return
    missing = "" if teacher.config.ctc_head else "CTC head"
    missing = missing or ("" if teacher.processor.tokenizer is not None else "vocabulary (vocab.json)")
    if missing:
        message = (
            f"{given} takes the teacher's transcripts as labels, but {teacher.path} has no {missing} to write them "
            "with; set it to given, or ask for no labels: steps without finetune, distill.losses.ctc.weight 0, no "
            "control"
        )
        yield Problem("data.transcripts", "no_labels", message)


def choose_labels(config: Config, data: PreparedData, data_fingerprint: str, teacher: LoadedModel) -> Labels:
    """Take the given transcripts, or with ``data.transcripts: none`` or ``teacher`` have the teacher write its own.

    Pseudo-labels, as in Distil-Whisper (Gandhi et al., 2023, section 3.2): filtered by word error rate against the
    transcripts, where there are some, and by the teacher's confidence. Written once, in ``labelled/`` beside the
    manifests. On dev they only serve to choose the best checkpoint, and are kept whatever the confidence; test keeps
    what it has.

    Args:
        config: of the run.
        data: its manifests, left as they are.
        data_fingerprint: of what is in them.
        teacher: with CTC head and vocabulary; without them nothing has labels.

    Returns:
        See ``Labels``.

    Raises:
        DataError: labels are wanted, and the teacher is sure of no utterance.
    """
    if config.data.transcripts == "given":
        return Labels(data.manifests, data_fingerprint, [])
    assert teacher.folder is not None
    least, wanted = config.distill.losses.ctc.min_confidence, wants_labels(config)
    how = [config.data.transcripts, config.data.max_label_wer, to_dict(config.evaluate.autoregressive)]
    expected = fingerprint(data_fingerprint, fingerprint_files(teacher.folder), least, wanted, how)
    folder = data.folder / "labelled"
    facts = _read_facts(folder, expected)
    if facts is None:
        facts = _label_splits(config, data, teacher, folder)
        if wanted and not facts["train"].num_labelled:
            bounds = f"distill.losses.ctc.min_confidence = {least:g}"
            if config.data.transcripts == "teacher":
                bounds += f" and data.max_label_wer = {config.data.max_label_wer:g}"
            raise DataError(
                f"data.transcripts: the teacher gives no label to any of the {facts['train'].num_utterances} training "
                f"utterances with {bounds}; lower or raise that, or see what the teacher hears by `bigfoot transcribe`"
            )
        names = [data.manifests[split].name for split in facts]
        state = _State(expected, facts, {name: digest_file(folder / name) for name in names})
        write_state(folder / LABELS_FILE, state)
    else:
        log.info("labels: nothing has changed, skipped (%s)", folder)
    notes = [_describe(split, item, config) for split, item in facts.items() if item.mean_confidence is not None]
    for note in notes:
        log.info("labels: %s", note)
    return Labels(data.manifests | {split: folder / data.manifests[split].name for split in facts}, expected, notes)


def _read_facts(folder: Path, expected: str) -> dict[str, _SplitFacts] | None:
    state, reason = read_state(folder / LABELS_FILE, _State)
    if state is not None and state.fingerprint == expected:
        reason = describe_damage(folder, state.files)
        if not reason:
            return state.splits
    if reason:
        log.warning("labels: %s; the teacher writes them again", reason)
    return None


def _label_splits(config: Config, data: PreparedData, teacher: LoadedModel, folder: Path) -> dict[str, _SplitFacts]:
    refuse_file(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Until all splits are whole, the old facts must not vouch for a mixture.
    forget_state(folder / LABELS_FILE)
    can = teacher.model.head is not None and teacher.processor.tokenizer is not None
    # A pass of the teacher over all of train is only worth its hours where somebody learns from it.
    lowest = {"train": config.distill.losses.ctc.min_confidence, "dev": 0.0}
    if config.data.transcripts == "teacher":
        lowest.pop("dev")
    heard_splits = {"train": can and wants_labels(config), "dev": can}
    facts = {}
    for split, least in lowest.items():
        heard = Transcripts()
        if heard_splits[split]:
            heard = _transcribe(split, data, teacher, config.evaluate)
        if config.data.transcripts == "teacher":
            heard = _close_to_given(heard, config.data.max_label_wer)
        sure = zip(heard.ids, heard.hypotheses, heard.confidences, strict=True)
        kept = {name: text for name, text, confidence in sure if text and confidence >= least}
        write_relabelled(data.manifests[split], kept, folder / data.manifests[split].name)
        mean = sum(heard.confidences) / len(heard.ids) if heard.ids else None
        facts[split] = _SplitFacts(data.num_utterances[split], len(kept), mean)
    return facts


def _close_to_given(heard: Transcripts, max_wer: float) -> Transcripts:
    """The utterances of which the teacher hears nearly what was said."""
    counts = count_errors(heard.references, heard.hypotheses)
    near = [index for index, count in enumerate(counts) if count.rate is not None and count.rate <= max_wer]
    return replace(
        heard,
        ids=[heard.ids[index] for index in near],
        hypotheses=[heard.hypotheses[index] for index in near],
        confidences=[heard.confidences[index] for index in near],
    )


def _transcribe(split: str, data: PreparedData, teacher: LoadedModel, config: EvaluateConfig) -> Transcripts:
    tokenizer = teacher.processor.tokenizer
    assert tokenizer is not None
    log.info("labels: the teacher transcribes %s, %.2f h", split, data.hours[split])
    # Without a tokenizer: the transcripts that may be there are nobody's business here.
    silent, size = replace(teacher.processor, tokenizer=None), config.batch_size
    batches = evaluation_batches(data.manifests[split], silent, size, longest=LONGEST_PIECE)
    home = teacher.model.device
    teacher.model.to(PartialState().device)
    count = -(-data.num_utterances[split] // size)
    shown = show_progress(batches, f"transcribing {split}", count)
    if teacher.model.decoder is None:
        heard = transcribe_batches(teacher.model, shown, tokenizer)
    else:
        spelling = teacher.processor.decoder_tokenizer or tokenizer
        heard = transcribe_by_decoder(teacher.model, shown, spelling, config.autoregressive)
    teacher.model.to(home)
    return heard


def _describe(split: str, facts: _SplitFacts, config: Config) -> str:
    least = config.distill.losses.ctc.min_confidence
    mean = f"mean confidence {facts.mean_confidence:.2f}"
    if split == "dev":
        return f"dev WER in logs and curves is against the teacher's own transcripts ({mean}), not what was said"
    if config.data.transcripts == "teacher":
        return (
            f"trained on the teacher's own transcripts of {facts.num_labelled} of {facts.num_utterances} utterances of "
            f"{split}: their word error rate is {config.data.max_label_wer:.0%} at most"
        )
    return (
        f"trained without transcripts: the teacher's own are the labels of {facts.num_labelled} of "
        f"{facts.num_utterances} utterances of {split} ({mean}, at least {least:g} asked for)"
    )
