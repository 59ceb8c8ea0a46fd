"""What a run of a comparison was made of, besides its settings: its corpus and every file that they name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bigfoot.config import to_dict
from bigfoot.config.plugins import digest_plugins
from bigfoot.errors import BigfootError
from bigfoot.formats.folder import resolve_model
from bigfoot.pipeline.fingerprints import fingerprint, fingerprint_files
from bigfoot.pipeline.inputs import digest_noise, find_characters, find_unchanged
from bigfoot.pipeline.plan import resolve_plan
from bigfoot.pipeline.settings import Config

# The corpus and noise are compared by their manifests, and output is no input.
_NOT_READ = ("run_dir", "data", "cache")


def digest_inputs(config: Config, model: str) -> str:
    """Compute the digest of a finished run's corpus, the files that its settings name, and its final model.

    Args:
        config: of the run, at its scale.
        model: its final one, a name or folder.

    Returns:
        16 hexadecimal digits; ``""`` where the corpus has changed since, or something is gone.
    """
    try:
        planned = resolve_plan(config).models
        characters = None if planned is None else find_characters(config, planned.writes)
        data = find_unchanged(config, Path(config.run_dir), characters)
        if data is None:
            return ""
        models = {resolve_model(name) for name in (config.teacher.path, config.student.path) if name}
        files = [fingerprint_files(path) for path in sorted({*models, *_named_files(to_dict(config))})]
        files.append(fingerprint_files(resolve_model(model)))
        return fingerprint(data.contents, digest_noise(config, data), files, digest_plugins(config.plugins))
    except (BigfootError, OSError):
        return ""


def _named_files(settings: object, key: str = "") -> Iterator[Path]:
    """Files and folders that any setting names."""
    if key in _NOT_READ:
        return
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from _named_files(value, name)
    elif isinstance(settings, list):
        for value in settings:
            yield from _named_files(value)
    elif isinstance(settings, str) and settings:
        path = Path(settings).expanduser()
        if path.exists():
            yield path
