"""Pages of the documentation: their fenced blocks, the commands inside, and the files that they show."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
# tools/docs.sh writes these out of the code.
GENERATED = {DOCS / "reference" / "cli.md", DOCS / "reference" / "config.md"}
PAGES = [ROOT / "README.md", ROOT / "RESULTS.md", *sorted({*DOCS.rglob("*.md")} - GENERATED)]
PROGRAMS = (
    "bigfoot", "python", "bash", "accelerate", "torchrun", "srun", "pip", "export", "curl", "npm", "ray", "serve"
)  # fmt: skip
_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<content>.*?)^```$", re.DOTALL | re.MULTILINE
)
_NAMED = re.compile(r"# ([\w.]+\.(?:py|yaml|txt))\n")
_VARIABLE = re.compile(r'^(\w+)="([^"]*)"$', re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the lines inside, its first line's number, and why it is not run."""

    language: str
    content: str
    line: int
    reason: str | None

    @property
    def file(self) -> str | None:
        """Name of the file that it stands for: of a comment in its first line."""
        named = _NAMED.match(self.content)
        return named[1] if named else None


def read_blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order; ``<!-- not run: REASON -->`` above one says why it is not run."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["language"], found["content"], text.count("\n", 0, found.start()) + 1, found["reason"])
        for found in _FENCE.finditer(text)
    ]


def commands_of(block: Block) -> list[str]:
    """Single commands of a block, without comments, the variables of the shell filled in."""
    text = block.content
    for name, value in _VARIABLE.findall(text):
        text = text.replace(f"${name}", " ".join(value.split()))
    lines = _VARIABLE.sub("", text).replace("\\\n", " ").splitlines()
    found = [re.split(r"\s#", line)[0].strip() for line in lines]
    return [line for line in found if line and not line.startswith("#")]


def inline_code(page: Path) -> list[str]:
    """What stands between backticks in the sentences and tables of a page."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def write_files_of(page: Path, folder: Path) -> list[str]:
    """Write the files that a page shows; their names."""
    shown = [(block.file, block.content) for block in read_blocks(page) if block.file]
    for name, content in shown:
        (folder / name).write_text(content.split("\n", 1)[1], encoding="utf-8")
    return [name for name, _ in shown]
