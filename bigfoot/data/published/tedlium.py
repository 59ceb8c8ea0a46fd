"""TED-LIUM, releases 1 to 3 (Rousseau et al., 2012; Hernandez et al., 2018)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bigfoot.data.manifests import ListedUtterance
from bigfoot.data.stretches import Stretch
from bigfoot.data.transcripts import read_text_lines
from bigfoot.errors import DataError

_IGNORED = "ignore_time_segment_in_scoring"
_GENDER = re.compile(r"(?:^<|,)(female|male)>?")


def list_tedlium(root: Path, split: str) -> list[ListedUtterance]:
    """List a split.

    Talks lie in ``sph/``, their segments in ``stm/``, below ``legacy/SPLIT`` in release 3 and ``SPLIT`` before it::

        AlGore_2009 1 AlGore_2009 17.82 28.81 <o,f0,male> thank you so much {NOISE} it 's truly a great honor

    Args:
        root: folder of the release.
        split: ``train``, ``dev`` or ``test``.

    Returns:
        The segments by talk and time, with the label ``gender``; texts as lhotse normalizes them in the way of Kaldi,
        without noises and with suffixes joined to their words. Segments that are not scored are left out.

    Raises:
        DataError: there is no such split.
    """
    folder = next((found for found in (root / "legacy" / split, root / split) if (found / "stm").is_dir()), None)
    if folder is None:
        raise DataError(f"data: no split {split} of TED-LIUM in {root}; expected legacy/{split}/stm or {split}/stm")
    return [item for talk in sorted((folder / "stm").glob("*.stm")) for item in _list_talk(talk, folder / "sph")]


def _list_talk(talk: Path, audio: Path) -> Iterator[ListedUtterance]:
    # Its package imports every recipe: a second that other corpora do without.
    from lhotse.recipes.utils import normalize_text_tedlium

    for number, line in enumerate(read_text_lines(talk)):
        if not line.strip() or line.startswith(";;"):
            continue
        fields, problem = line.split(maxsplit=6), None
        try:
            name, _, speaker, start, end, kind = fields[:6]
            stretch = Stretch(float(start), float(end) - float(start))
        except ValueError:
            problem = f"{talk.name}:{number + 1}: expected talk, channel, speaker, start, end, labels and text"
            yield ListedUtterance(f"{talk.stem}-{number}", talk, "", "", problem)
            continue
        words = fields[6] if len(fields) > 6 else ""
        if words == _IGNORED:
            continue
        text = normalize_text_tedlium(words.replace("{NOISE}", "[NOISE]"), "kaldi")
        gender = _GENDER.search(kind)
        labels = {"gender": gender[1]} if gender else {}
        path = audio / f"{name}.sph"
        yield ListedUtterance(f"{name}-{number}", path, " ".join(text.split()), speaker, None, stretch, labels)
