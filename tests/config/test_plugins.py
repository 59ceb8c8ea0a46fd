"""Modules of users: found, loaded before the configuration is checked, part of fingerprints."""

import itertools
import re
import sys

import pytest

from bigfoot.config import save_config
from bigfoot.config.plugins import digest_plugins, load_plugins, read_plugins
from bigfoot.distill import default_losses
from bigfoot.distill.registry import REGISTERED
from bigfoot.errors import BigfootError
from bigfoot.pipeline.registry import STEPS
from bigfoot.pipeline.settings import load_config, read_config
from tests.codes import refusing

TOY = """
from dataclasses import dataclass
from bigfoot.distill import Loss, register_loss

@register_loss("toy")
@dataclass
class Toy(Loss):
    power: float = 2.0
"""

STEP = """
from dataclasses import dataclass
from bigfoot.pipeline.registry import register_step

@dataclass
class Settings:
    number: int = 1

register_step("toy", Settings, "nowhere:Toy")
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory; what a test loads is forgotten after it."""
    before = set(sys.modules)
    for registry, known in itertools.product((REGISTERED, STEPS), ("_entries", "_origins")):
        monkeypatch.setattr(registry, known, dict(getattr(registry, known)))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if "bigfoot" not in name:
            del sys.modules[name]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("toy_here.py", "toy_here"), ("toy_here.py", "toy_here.py"), ("toy_here.py", "./toy_here.py"),
        ("configs/toy_beside.py", "toy_beside"), ("configs/lab/toy_path.py", "lab/toy_path.py"),
        ("toy_package/__init__.py", "toy_package"), ("toy_package/losses.py", "toy_package.losses"),
    ],
)  # fmt: skip
def test_a_module_is_found_beside_the_configuration_or_where_the_run_starts(place, file, named):
    write(place / file, TOY)
    text = f"plugins: [{named}]\ndistill: {{losses: {{toy: {{weight: 0.5}}}}}}\n"
    config = load_config(write(place / "configs/c.yaml", text), ["distill.losses.toy.power=3"])
    assert (config.distill.losses.toy.weight, config.distill.losses.toy.power) == (0.5, 3.0)
    assert config.gates.losses.toy.weight == 0.0
    assert len(digest_plugins(config.plugins)[0]) == 16


def test_an_installed_module_is_found_and_keeps_its_name(place, monkeypatch):
    write(place / "site/toy_installed.py", TOY)
    monkeypatch.syspath_prepend(str(place / "site"))
    config = load_config(None, ["plugins=[toy_installed]"])
    assert config.plugins == ["toy_installed"] and config.distill.losses.toy.power == 2.0


@pytest.mark.slow
def test_a_saved_configuration_finds_its_modules_from_anywhere(place, monkeypatch):
    write(place / "toy_saved.py", TOY)
    config = load_config(None, ["plugins=[toy_saved]", "distill.losses.toy.weight=1"])
    save_config(config, place / "run/config.yaml")
    monkeypatch.chdir(write(place / "elsewhere/x", "").parent)
    assert load_config(place / "run/config.yaml") == config


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "toy_missing"), (None, "toy_missing.py"), (None, "toy_missing.losses"),
        ("import nowhere_at_all", "toy_x"),
        ("1 +", "toy_x"), ("raise RuntimeError('no')", "toy_x"), ("raise SystemExit(3)", "toy_x"),
        ("import json as json", "json.py"),
        (TOY.replace('"toy"', '"hidden"'), "toy_x"), (TOY.replace('"toy"', '"no name"'), "toy_x"),
        (TOY.replace("@dataclass\n", ""), "toy_x"), (TOY.replace("(Loss)", ""), "toy_x"),
        (TOY.replace("power: float = 2.0", "power: object = Loss"), "toy_x"),
        (STEP.replace("@dataclass\n", ""), "toy_x"), (STEP.replace(" = 1", ""), "toy_x"),
        (STEP.replace("int = 1", "object = dataclass"), "toy_x"), (STEP.replace('"toy"', '"distill"'), "toy_x"),
    ],
)  # fmt: skip
def test_a_module_that_cannot_be_loaded_is_one_problem(place, text, named):
    if text is not None:
        write(place / f"{named.removesuffix('.py')}.py", text)
    config, problems = read_config(None, [f"plugins=[{named}]", "seed=many"])
    assert [(problem.key, problem.code) for problem in problems] == [("plugins", "not_loaded"), ("seed", "wrong_type")]
    assert "\n" not in problems[0].message
    assert config.plugins == []


def test_keys_of_a_loss_are_checked_like_all_others(place):
    write(place / "toy_keys.py", TOY)
    _, problems = read_config(None, ["plugins=[toy_keys]", "distill.losses.toy.powr=2", "gates.losses.toy.weight=-1"])
    assert [(problem.key, problem.code) for problem in problems] == [
        ("distill.losses.toy.powr", "unknown_key"), ("gates.losses.toy.weight", "out_of_range"),
    ]  # fmt: skip


def test_a_changed_module_is_loaded_again_and_has_another_digest(place):
    file = write(place / "toy_changed.py", TOY)
    (plugin,) = load_plugins(["toy_changed"])
    first = digest_plugins([plugin])
    file.write_text(TOY.replace("2.0", "3.0"))
    load_plugins(["toy_changed"])
    assert digest_plugins([plugin]) != first
    assert default_losses().toy.power == 3.0


def test_two_modules_cannot_have_one_name_for_two_losses(place):
    write(place / "toy_one.py", TOY)
    write(place / "toy_two.py", TOY)
    with refusing(("plugins", "not_loaded")):
        load_plugins(["toy_one", "toy_two"])


def test_without_plugins_nothing_is_different():
    assert digest_plugins([]) == [] and type(default_losses()).__bases__ == (object,)


def test_errors_of_bigfoot_are_named_once(place):
    write(place / "toy_error.py", TOY.replace('"toy"', '"hidden"'))
    _, (problem,) = read_plugins(["toy_error"])
    with pytest.raises(BigfootError) as caught:
        __import__("toy_error")
    assert re.fullmatch(re.escape(str(caught.value)), problem.message)
