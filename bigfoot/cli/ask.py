"""``bigfoot ask``: an answer of a speech LLM to a recording and a question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ask(
    model: Annotated[str, typer.Argument(help="A folder of bigfoot train-task with kind: speech_llm.")],
    audio: Annotated[Path, typer.Option(help="A recording of any rate and channel count.")],
    prompt: Annotated[str, typer.Option(help="Text at {instruction} in the model's template.")] = "",
    history: Annotated[str, typer.Option(help="Text at {history}: earlier turns.")] = "",
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in the language model's tokens.", min=1)] = 128,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that the language model's folder brings along.")
    ] = False,
) -> None:
    """Print the answer of a speech LLM to a recording, token by token."""
    from bigfoot.audio.files import read_audio
    from bigfoot.decoding.answering import answer
    from bigfoot.formats.speech_llm import load_speech_llm
    from bigfoot.text.prompts import HISTORY, INSTRUCTION

    loaded = load_speech_llm(model, trust_remote_code=trust_remote_code)
    samples = read_audio(audio, sample_rate=loaded.processor.sample_rate)
    values = {INSTRUCTION: prompt, HISTORY: history}
    answer(loaded, samples, values, lambda text: typer.echo(text, nl=False), most_new_tokens=max_tokens)
    typer.echo()
