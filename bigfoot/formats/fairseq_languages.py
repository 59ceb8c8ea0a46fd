"""The languages of a fairseq checkpoint, as MMS has them: ``adapter`` holds the head, adapters and dictionary of each.

Of every language there is ``{"model": tensors, "task_state": {"target_dictionary": ...}}``; its tensors take the place
of those in the checkpoint's own ``model`` (fairseq's examples/speech_recognition/new/infer.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bigfoot.errors import ModelError
from bigfoot.formats.languages import LanguageError, choose_language
from bigfoot.text.json_fields import quote

_LANGUAGES = "adapter"


def with_language(content: Mapping[str, object], wanted: str | None, file: Path) -> dict[str, object]:
    """Return a checkpoint with the weights and the dictionary of one of its languages.

    Args:
        content: the checkpoint.
        wanted: a language; None where none was named.
        file: where it comes from, for messages.

    Raises:
        LanguageError: there is no such language, or there are several and none was named; what there is is listed.
        ModelError: a language of another form.
    """
    languages, model = content.get(_LANGUAGES), content.get("model")
    if not isinstance(languages, Mapping) or not languages or not isinstance(model, Mapping):
        if wanted is not None:
            raise LanguageError(f"{file}: no languages in it; leave the language {quote(wanted)} out")
        return dict(content)
    language = choose_language(sorted(str(name) for name in languages), wanted, str(file))
    own = languages.get(language)
    weights = own.get("model") if isinstance(own, Mapping) else None
    if not isinstance(own, Mapping) or not isinstance(weights, Mapping):
        raise ModelError(f"{file}: of the language {quote(language)} it holds no model")
    return {**content, "model": {**model, **weights}, "task_state": own.get("task_state")}
