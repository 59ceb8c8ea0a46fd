"""Convert reports of earlier versions to the current format."""

from __future__ import annotations

import re
from typing import Any


def rename_rows(content: dict[str, Any]) -> dict[str, Any]:
    """Rename the rows ``distil``, as written until 0.1, to ``distill``.

    Args:
        content: of a ``report.json`` whose ``rows`` are a list of objects; not modified.

    Examples:
        >>> rename_rows({"rows": [{"name": "distil_2, decoder", "step": "distil_2"}]})["rows"]
        [{'name': 'distill_2, decoder', 'step': 'distill_2'}]
    """
    renamed = dict(content)
    renamed["rows"] = [_rename_values(row, ("name", "step")) for row in content["rows"]]
    for key in ("seconds_per_step", "losses"):
        if isinstance(content.get(key), dict):
            renamed[key] = _rename_keys(content[key])
    if isinstance(content.get("worst"), list):
        renamed["worst"] = [_rename_worst(item) for item in content["worst"]]
    return renamed


def _rename(name: object) -> object:
    return re.sub(r"^(ctc_only_)?distil(?=$|[_,])", r"\1distill", name) if isinstance(name, str) else name


def _rename_values(item: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: _rename(value) if key in keys else value for key, value in item.items()}


def _rename_keys(item: dict[str, Any]) -> dict[str, Any]:
    return {str(_rename(key)): value for key, value in item.items()}


def _rename_worst(item: object) -> object:
    if not isinstance(item, dict):
        return item
    found = _rename_values(item, ("model",))
    hypotheses = found.get("hypotheses")
    return found | {"hypotheses": _rename_keys(hypotheses)} if isinstance(hypotheses, dict) else found
