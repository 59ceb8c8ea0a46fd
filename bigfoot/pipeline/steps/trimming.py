"""Trim the student's vocabulary to the characters of a language, and find its tokens among the teacher's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bigfoot.config import Problem
from bigfoot.data.batches import read_transcripts
from bigfoot.errors import DataError
from bigfoot.formats.folder import LoadedModel, ModelOutline
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import with_rows
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.vocabulary import characters_of_file, vocabulary_file
from bigfoot.storage.remote import fetch
from bigfoot.text.tokenizers import CharTokenizer, Processor

_KEY = "student.vocabulary"


def vocabulary_problems(config: Config, source: ModelOutline) -> Iterator[Problem]:
    """Explain why the vocabulary of a student cannot be trimmed.

    Args:
        config: of the run.
        source: the model that it is initialized from.

    Yields:
        Problem by problem.
    """
    if config.student.vocabulary is None:
        return
    tokenizer = source.processor.tokenizer if source.config.ctc_head else None
    if not isinstance(tokenizer, CharTokenizer):
        have = "no vocabulary with a CTC head" if tokenizer is None else tokenizer.describe()
        yield Problem(_KEY, "no_characters", f"trims a vocabulary of characters, and {source.path} has {have}")
    if source.config.decoder is not None:
        yield Problem(_KEY, "other_decoder", "the decoder's tokens are numbered by the CTC head; keep all of them")
    file = vocabulary_file(config)
    if file is None:
        return
    if not fetch(file).expanduser().is_file():
        yield Problem(_KEY, "no_file", f"neither from_corpus nor a text file: {file}")
    if config.data.transcripts != "given":
        message = "the teacher's transcripts may have characters that the file lacks; use from_corpus, which reads them"
        yield Problem(_KEY, "other_labels", message)


def trim_vocabulary(
    model: BigfootForCTC, processor: Processor, context: Context
) -> tuple[BigfootForCTC, Processor, str]:
    """Keep the rows of the CTC head that a language needs.

    Args:
        model: the student; left as it is.
        processor: with the teacher's vocabulary.
        context: of the run.

    Returns:
        The model with fewer rows, its processor, and what was kept in a sentence.

    Raises:
        DataError: no character of the vocabulary is among those to keep.
    """
    tokenizer, characters = processor.tokenizer, characters_of_file(context.config)
    assert isinstance(tokenizer, CharTokenizer)  # a problem otherwise
    if characters is None:
        texts = (read_transcripts(context.labels.manifests[split]) for split in ("train", "dev"))
        characters = {character for split in texts for text in split for character in text}
    trimmed = tokenizer.keep_characters(characters)
    if not trimmed.characters - {" "}:
        raise DataError(f"{_KEY}: no character of {context.config.student.vocabulary} is in the teacher's vocabulary")
    rows = trimmed.find_in(tokenizer)
    kept = f"vocabulary: kept {len(trimmed)} of {len(tokenizer)} tokens; the others count as the blank."
    return with_rows(model, rows, trimmed.blank_id), replace(processor, tokenizer=trimmed), kept


def find_kept_tokens(student: LoadedModel, teacher: LoadedModel, config: Config) -> Sequence[int]:
    """Find the tokens of a trimmed student among its teacher's.

    Args:
        student: with the vocabulary that was kept.
        teacher: with the whole one.
        config: of the run.

    Returns:
        For each token of the student, the teacher's; empty where all were kept.
    """
    ours, theirs = student.processor.tokenizer, teacher.processor.tokenizer
    if config.student.vocabulary is None or ours is None or theirs is None or teacher.model.head is None:
        return ()
    return ours.find_in(theirs)
