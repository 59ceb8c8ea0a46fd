"""Files that a page of the documentation shows: a fenced block whose first line is a comment with the file's name."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def write_files_of(page: Path, folder: Path) -> list[str]:
    """Write them; their names."""
    blocks = re.findall(r"^```\w+\n# ([\w.]+\.(?:py|yaml))\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    for name, content in blocks:
        (folder / name).write_text(content, encoding="utf-8")
    return [name for name, _ in blocks]
