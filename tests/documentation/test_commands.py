"""What the pages name is there: commands, options, settings, scripts, extras, configurations."""

import re
from dataclasses import fields, is_dataclass

import pytest
import yaml

from bigfoot.config import read_settings
from bigfoot.pipeline.settings import Config, read_config
from bigfoot.tasks.speech_llm.settings import SpeechLLMConfig
from tests.documentation.commands import WRONG, check_command, check_mention
from tests.pages import PAGES, PROGRAMS, ROOT, commands_of, inline_code, read_blocks

LANGUAGES = {"bash", "python", "yaml", "json", "text"}
SECTIONS = {item.name for item in fields(Config) if is_dataclass(getattr(Config(), item.name))}
KEY = re.compile(r"([a-z]+)(\.[a-z_]+)+(?==|$)")
MORE = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def label(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if read_blocks(page)], ids=label)
def test_every_block_has_a_language_and_every_command_is_marked_as_one(page):
    text = page.read_text(encoding="utf-8")
    blocks = read_blocks(page)
    assert 2 * len(blocks) == len(re.findall("^```", text, re.MULTILINE))
    assert text.count("<!-- not run:") == len([block for block in blocks if block.reason])
    for block in blocks:
        assert block.language in LANGUAGES, f"{page}:{block.line}"
        commands = block.language == "text" and block.content.startswith(tuple(f"{word} " for word in PROGRAMS))
        assert not commands, f"{page}:{block.line}: commands stand in a bash block, where they are run or checked"


@pytest.mark.grid
@pytest.mark.parametrize("page", [page for page in PAGES if read_blocks(page)], ids=label)
def test_a_command_that_is_not_run_could_be(page):
    for block in read_blocks(page):
        if block.language == "bash":
            for command in commands_of(block):
                check_command(command)
        elif block.language == "python":
            compile(block.content, f"{page}:{block.line}", "exec")


@pytest.mark.grid
@pytest.mark.parametrize("page", [*PAGES, *MORE], ids=label)
def test_a_command_in_a_sentence_could_be_run(page):
    for code in inline_code(page):
        if code.startswith(("bigfoot ", "bash ", "python ", "pip install ")):
            check_mention(code)


@pytest.mark.grid
@pytest.mark.parametrize("page", [*PAGES, *MORE], ids=label)
def test_every_setting_in_a_sentence_exists(page):
    own = set(re.findall(r'register_\w+\("(\w+)"', page.read_text(encoding="utf-8")))
    for code in inline_code(page):
        key = KEY.match(code)
        if key is None or key[1] not in SECTIONS or own & set(key[0].split(".")):
            continue
        wrong = _read(page, None, [f"{key[0]}=null"])
        assert [str(problem) for problem in wrong if problem.code == "unknown_key"] == [], code


def _read(page, path, changes):
    """Problems of a configuration, of a speech LLM on the page that is about those."""
    if page.stem == "speech-llm":
        return read_settings(SpeechLLMConfig, path, changes)[1]
    return read_config(path, changes)[1]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.language == "yaml" for b in read_blocks(page))], ids=label
)
def test_every_yaml_block_is_a_configuration(page, tmp_path):
    for block in read_blocks(page):
        if block.language == "yaml" and "plugins" not in yaml.safe_load(block.content):
            (tmp_path / "block.yaml").write_text(block.content, encoding="utf-8")
            problems = _read(page, str(tmp_path / "block.yaml"), [])
            assert [str(problem) for problem in problems if problem.code in WRONG] == []


@pytest.mark.parametrize(
    "command",
    [
        "bigfoot compres", "bigfoot export tiny_teacher", "bigfoot export a b --int9 static", "bigfoot export a [--x]",
        "bigfoot compress --config demo_config.yaml distil.max_steps=1", "bigfoot compress distill.max_steps=many",
        "python recipes/nowhere.py", "python tools/train_ngram.py a b --ordr 3", "bash recipes/fsdd/run.sh --stag 1",
        "pip install '.[trian]'", "python recipes/compress.py --config my.yaml finetune.head=knew", "rm -r x",
        "accelerate launch --num_processes 4 recipes/compress.py --confg my.yaml",
        "srun torchrun --nnodes 2 recipes/compress.py --config my.yaml shrad=true",
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(command):
    with pytest.raises(AssertionError):
        check_command(command)
