"""What the field ``frame_encoder`` of a configuration may hold."""

from __future__ import annotations

from collections.abc import Iterator

from bigfoot.text.json_fields import quote


def frame_encoder_problems(raw: object) -> Iterator[str]:
    """Explain why the field of a configuration is no frame encoder.

    Args:
        raw: the field.

    Yields:
        One sentence a problem.
    """
    fits = isinstance(raw, dict) and raw.keys() == {"kind", "settings"}
    if not fits or not isinstance(raw["kind"], str) or not isinstance(raw["settings"], dict):  # type: ignore[index]
        yield f"frame_encoder {quote(raw)} should hold kind, a name, and settings"
