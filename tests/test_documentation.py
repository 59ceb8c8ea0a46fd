"""README is short and names what people search for; the site builds; ``tests/documentation`` runs the pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.search_path import search_path

ROOT = Path(__file__).resolve().parent.parent


def test_readme_is_short_and_found() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) < 900
    wanted = ["speech recognition", "ASR", "wav2vec2", "HuBERT", "WavLM", "compress", "pruning", "quantization"]
    wanted += ["distillation", "ONNX", "int8"]
    assert [word for word in wanted if word.lower() not in text.lower()] == []


@pytest.mark.slow
def test_site_builds_strictly(tmp_path: Path) -> None:
    """A broken link, picture or reference fails; built in a copy, so that nothing is left in the checkout."""
    pytest.importorskip("zensical")
    for name in ("docs", "bigfoot"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = os.environ | {"PYTHONPATH": search_path(ROOT), "NO_COLOR": "1"}
    (tmp_path / "docs").unlink()
    subprocess.run(["cp", "-r", str(ROOT / "docs"), str(tmp_path / "docs")], check=True)
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    generate = [sys.executable, str(ROOT / "tools/docs_reference.py"), "docs/reference"]
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    for command in (generate, build):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "reference" / "config" / "index.html").is_file()
