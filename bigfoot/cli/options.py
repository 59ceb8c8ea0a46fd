"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_CONFIG = "demo_config.yaml"
MODEL_HELP = (
    "A bigfoot or Hugging Face folder, a hub id, a .pt file of fairseq's or torchaudio's, "
    "torchaudio:BUNDLE, or tiny_teacher."
)
ModelArgument = Annotated[str, typer.Argument(help=MODEL_HELP)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, such as student.conv_groups=4", metavar="[KEY=VALUE]...")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
