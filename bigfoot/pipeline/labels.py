"""Transcripts for training: the given ones, or pseudo-labels of the teacher."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from accelerate import PartialState

from bigfoot.audio.pauses import LONGEST_PIECE
from bigfoot.config import Problem, to_dict
from bigfoot.data.batches import evaluation_batches
from bigfoot.data.cuts import write_relabelled
from bigfoot.data.manifests import PreparedData
from bigfoot.decoding.greedy import Transcripts, transcribe_batches
from bigfoot.decoding.seq2seq import Seq2SeqTranscriber, transcribe_seq2seq, writes_text
from bigfoot.decoding.spoken import transcribe_by_decoder
from bigfoot.errors import DataError
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.error_rate import count_errors
from bigfoot.pipeline.context import Labels
from bigfoot.pipeline.facts import log_skipped
from bigfoot.pipeline.fingerprints import fingerprint, fingerprint_files
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.registry import STEPS
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.step import get_step
from bigfoot.storage.digests import describe_damage, digest_file
from bigfoot.storage.state import forget_state, read_state, refuse_file, write_state
from bigfoot.text.fitting import fit_text
from bigfoot.text.tokenizer import Tokenizer

log = logging.getLogger("bigfoot")

LABELS_FILE = "labels.json"


@dataclass(frozen=True)
class _SplitFacts:
    """How a split was transcribed; ``mean_confidence`` is None if it was not.

    ``hallucinations`` counts the texts of a sequence-to-sequence teacher that were dropped, by their sign.
    """

    num_utterances: int
    num_labelled: int
    mean_confidence: float | None
    hallucinations: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _State:
    """Content of ``labels.json``.

    Args:
        fingerprint: of everything that determines the content of the manifests.
        splits: how each was transcribed.
        files: digests of the manifests, by name.
    """

    fingerprint: str
    splits: dict[str, _SplitFacts]
    files: dict[str, str]


def wants_labels(config: Config) -> bool:
    """Return whether any step of a run learns from transcripts.

    Args:
        config: of the run.

    Examples:
        >>> wants_labels(Config(steps=["student", "distill"])), wants_labels(Config(steps=["student", "finetune"]))
        (False, True)
    """
    return any(get_step(name).reads_labels(config) for name in dict.fromkeys(config.steps) if name in STEPS)


def transcript_problems(plan: Plan) -> Iterator[Problem]:
    """Check that the teacher can write pseudo-labels if there are no transcripts.

    Args:
        plan: of the run.

    Yields:
        A problem if it cannot.
    """
    teacher, given = plan.teacher, plan.config.data.transcripts
    if teacher is None or given == "given" or not wants_labels(plan.config) or writes_text(teacher.path):
        return
    missing = "" if teacher.config.ctc_head else "CTC head, nor a decoder with its tokenizer,"
    missing = missing or ("" if teacher.processor.tokenizer is not None else "vocabulary (vocab.json)")
    if missing:
        message = (
            f"{given} takes the teacher's transcripts as labels, but {teacher.path} has no {missing} to write them "
            "with; set it to given, or ask for no labels: steps without finetune, distill.losses.ctc.weight 0, no "
            "control"
        )
        yield Problem("data.transcripts", "no_labels", message)


def choose_labels(
    config: Config, data: PreparedData, data_fingerprint: str, teacher: LoadedModel,
    written: Tokenizer | None = None,
) -> Labels:  # fmt: skip
    """Return the given transcripts, or compute pseudo-labels with ``data.transcripts: none`` or ``teacher``.

    Pseudo-labels as in Distil-Whisper (Gandhi et al., 2023, section 3.2): filtered by word error rate against the
    transcripts, if there are any, and by the teacher's confidence. Written once, in ``labelled/`` beside the manifests.
    On dev they only serve to select the best checkpoint, and are kept at any confidence; test is left unchanged.

    Args:
        config: of the run.
        data: its manifests, not modified.
        data_fingerprint: of their content.
        teacher: with CTC head and vocabulary; without them there are no labels.
        written: whose characters the teacher's texts are brought to; None leaves them as they are.

    Returns:
        See ``Labels``.

    Raises:
        DataError: labels are needed, but no utterance reaches the required confidence.
    """
    if config.data.transcripts == "given" or config.trains_task:
        return Labels(data.manifests, data_fingerprint, [])
    assert teacher.folder is not None
    least, wanted = config.distill.losses.ctc.min_confidence, wants_labels(config)
    how = [config.data.transcripts, config.data.max_label_wer, to_dict(config.evaluate.autoregressive)]
    written = None if written == teacher.processor.tokenizer else written
    if written is not None:
        how.append(written.vocabulary)
    expected = fingerprint(data_fingerprint, fingerprint_files(teacher.folder), least, wanted, how)
    folder = data.folder / "labelled"
    facts = _read_facts(folder, expected)
    if facts is None:
        facts = _label_splits(config, data, teacher, folder, written)
        if wanted and not facts["train"].num_labelled:
            bounds = f"distill.losses.ctc.min_confidence = {least:g}"
            if config.data.transcripts == "teacher":
                bounds += f" and data.max_label_wer = {config.data.max_label_wer:g}"
            if facts["train"].hallucinations:
                bounds += f" ({_count_dropped(facts['train'])})"
            raise DataError(
                f"data.transcripts: the teacher gives no label to any of the {facts['train'].num_utterances} training "
                f"utterances with {bounds}; relax these, or check the teacher's outputs with `bigfoot transcribe`"
            )
        names = [data.manifests[split].name for split in facts]
        state = _State(expected, facts, {name: digest_file(folder / name) for name in names})
        write_state(folder / LABELS_FILE, state)
    else:
        log_skipped("labels", folder)
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


def _label_splits(
    config: Config, data: PreparedData, teacher: LoadedModel, folder: Path, written: Tokenizer | None
) -> dict[str, _SplitFacts]:
    refuse_file(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Until all splits are complete, the old facts must not describe a mixture.
    forget_state(folder / LABELS_FILE)
    assert teacher.folder is not None
    can = teacher.missing_text_reason is None or writes_text(teacher.folder)
    # A pass of the teacher over all of train takes hours, so only if a step learns from it.
    lowest = {"train": config.distill.losses.ctc.min_confidence, "dev": 0.0}
    if config.data.transcripts == "teacher":
        lowest.pop("dev")
    transcribed = {"train": can and wants_labels(config), "dev": can}
    facts = {}
    for split, least in lowest.items():
        found, dropped = Transcripts(), Counter[str]()
        if transcribed[split]:
            found, dropped = _transcribe(split, data, teacher, config.evaluate)
            if written is not None:
                fitted = [fit_text(text, written.characters).text for text in found.hypotheses]
                found = replace(found, hypotheses=fitted)
        if config.data.transcripts == "teacher":
            found = _close_to_given(found, config.data.max_label_wer)
        sure = zip(found.ids, found.hypotheses, found.confidences, strict=True)
        kept = {name: text for name, text, confidence in sure if text and confidence >= least}
        write_relabelled(data.manifests[split], kept, folder / data.manifests[split].name)
        mean = sum(found.confidences) / len(found.ids) if found.ids else None
        facts[split] = _SplitFacts(data.num_utterances[split], len(kept), mean, dict(dropped))
    return facts


def _close_to_given(found: Transcripts, max_wer: float) -> Transcripts:
    """Keep the utterances whose hypothesis is close to the transcript."""
    counts = count_errors(found.references, found.hypotheses)
    near = [index for index, count in enumerate(counts) if count.rate is not None and count.rate <= max_wer]
    return replace(
        found,
        ids=[found.ids[index] for index in near],
        hypotheses=[found.hypotheses[index] for index in near],
        confidences=[found.confidences[index] for index in near],
    )


def _transcribe(
    split: str, data: PreparedData, teacher: LoadedModel, config: EvaluateConfig
) -> tuple[Transcripts, Counter[str]]:
    tokenizer = teacher.processor.tokenizer
    log.info("labels: the teacher transcribes %s, %.2f h", split, data.hours[split])
    # Without a tokenizer: existing transcripts are not tokenized here.
    silent, size = replace(teacher.processor, tokenizer=None), config.batch_size
    batches = evaluation_batches(
        data.manifests[split], silent, size, longest=LONGEST_PIECE, doing=f"labelling {split}"
    )
    if tokenizer is None or teacher.model.head is None:
        assert teacher.folder is not None
        transcriber = Seq2SeqTranscriber(teacher.folder)
        transcriber.model.to(PartialState().device)
        written = transcribe_seq2seq(transcriber, batches)
        return written.transcripts, written.hallucinations
    home = teacher.model.device
    teacher.model.to(PartialState().device)
    if teacher.model.decoder is None:
        found = transcribe_batches(teacher.model, batches, tokenizer)
    else:
        decoder_tokenizer = teacher.processor.decoder_tokenizer or tokenizer
        found = transcribe_by_decoder(teacher.model, batches, decoder_tokenizer, config.autoregressive)
    teacher.model.to(home)
    return replace(found, hypotheses=[tokenizer.drop_specials(text) for text in found.hypotheses]), Counter()


def _count_dropped(facts: _SplitFacts) -> str:
    signs = ", ".join(f"{sign} {count}" for sign, count in sorted(facts.hallucinations.items()))
    return f"dropped as hallucinations: {signs}"


def _describe(split: str, facts: _SplitFacts, config: Config) -> str:
    least = config.distill.losses.ctc.min_confidence
    mean = f"mean confidence {facts.mean_confidence:.2f}"
    if facts.hallucinations:
        mean += f"; {_count_dropped(facts)}"
    if split == "dev":
        return f"dev WER in logs and curves is against the teacher's own transcripts ({mean}), not references"
    if config.data.transcripts == "teacher":
        return (
            f"trained on the teacher's own transcripts of {facts.num_labelled} of {facts.num_utterances} utterances of "
            f"{split}: their word error rate is {config.data.max_label_wer:.0%} at most"
        )
    return (
        f"trained without transcripts: the teacher's own are the labels of {facts.num_labelled} of "
        f"{facts.num_utterances} utterances of {split} ({mean}, at least {least:g} asked for)"
    )
