"""bigfoot makes a wav2vec2-like speech model small and fast, measures what it cost, and exports a model that runs.

Importing the package loads nothing heavy; the names below are fetched from their rooms at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bigfoot.compress.chain import compress
    from bigfoot.formats.folder import load_model, save_model
    from bigfoot.pipeline import run_pipeline
    from bigfoot.pipeline.settings import Config, load_config
    from bigfoot.report.render import render_markdown
    from bigfoot.runtime.transcriber import Transcriber
    from bigfoot.version import __version__

__all__ = [
    "Config",
    "Transcriber",
    "__version__",
    "compress",
    "load_config",
    "load_model",
    "render_markdown",
    "run_pipeline",
    "save_model",
]

_HOMES = {
    "Config": "bigfoot.pipeline.settings",
    "Transcriber": "bigfoot.runtime.transcriber",
    "__version__": "bigfoot.version",
    "compress": "bigfoot.compress",
    "load_config": "bigfoot.pipeline.settings",
    "load_model": "bigfoot.formats.folder",
    "render_markdown": "bigfoot.report.render",
    "run_pipeline": "bigfoot.pipeline",
    "save_model": "bigfoot.formats.folder",
}
"""Where a name offered by the package itself lives."""


def __getattr__(name: str) -> object:
    """Fetch a public name from its room at first use.

    Raises:
        AttributeError: the package offers no such name.
        MissingExtraError: the name needs an extra that is not installed.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'bigfoot' has no attribute {name!r}; it offers {', '.join(_HOMES)}")
    try:
        home = importlib.import_module(_HOMES[name])
        # The room of compression is itself the function: bigfoot.compress(model, [...]).
        return home if home.__name__ == f"bigfoot.{name}" else getattr(home, name)
    except ModuleNotFoundError as error:
        from bigfoot.errors import MissingExtraError

        raise MissingExtraError.of_import(error) or error from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
