"""Turn a configuration of the Knowledge-Distillation-Toolkit, or of its follow-up with grouped convolutions, into ours.

    python tools/convert_kd_config.py OLD.yaml NEW.yaml [--steps_per_epoch N] [--force]

Every key of the old file is printed: what it became, or why it has no counterpart. Nothing is dropped in silence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigfoot.errors import plain_errors

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for the module beside this script
with plain_errors():  # without the extra [train]: its install line
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from bigfoot.config import Problem, to_dict
    from bigfoot.config.reading import read_yaml
    from bigfoot.errors import BigfootError, ConfigError
    from bigfoot.pipeline.settings import Config, read_config
    from bigfoot.storage.ownership import MayReplace
    from bigfoot.storage.replace import write_file
    from tools.kd_config_keys import KEYS, NO_DEFAULT, UNSAID, Old, Outcome


def read_old(path: Path) -> dict[str, Any]:
    """Read the old file as one flat dictionary of dotted keys."""
    plain = OmegaConf.to_container(read_yaml(path))
    assert isinstance(plain, dict)
    return dict(_flatten(plain, ""))


def _flatten(section: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_text(name: str) -> bool:
    return name in KEYS and KEYS[name].kind is str and not KEYS[name].words


def find_problems(given: dict[str, Any]) -> Iterator[Problem]:
    """Say which values are of a wrong type or an unknown word."""
    for name, value in given.items():
        key = KEYS.get(name)
        if key is None or (value is None and _is_text(name)):
            continue
        kinds = (int, float) if key.kind is float else key.kind
        # A bool is an int to Python, and to nobody else.
        if not isinstance(value, kinds) or (isinstance(value, bool) and key.kind in (int, float)):
            message = f"expected {key.kind.__name__}, got {value!r} ({type(value).__name__})"
            yield Problem(name, "wrong_type", message)
        elif key.words and value not in key.words:
            yield Problem(name, "unknown_word", f"{value!r} is not one of {', '.join(map(repr, key.words))}")


def convert(given: dict[str, Any], steps_per_epoch: int | None, name: str) -> tuple[dict[str, Any], list[str]]:
    """Convert an old configuration.

    Args:
        given: of ``read_old``.
        steps_per_epoch: optimizer steps of an epoch, where known.
        name: of the new configuration.

    Returns:
        bigfoot's keys with their values, and a line on every old key.

    Raises:
        ConfigError: values of a wrong type, all of them at once.
    """
    if problems := list(find_problems(given)):
        raise ConfigError(problems)
    defaults = {key: item.default for key, item in KEYS.items() if item.default is not NO_DEFAULT}
    # "key:" with nothing behind it is how some write an empty text.
    given = {key: "" if value is None and _is_text(key) else value for key, value in given.items()}
    old = Old(defaults | given, steps_per_epoch, name)
    outcomes = {key: item.convert(old[key], old) for key, item in KEYS.items() if key in old.values}
    settings: dict[str, Any] = {}
    for outcome in [*outcomes.values(), *UNSAID]:
        settings |= outcome.settings
    return settings, _describe(outcomes, given, old)


def _describe(outcomes: dict[str, Outcome], given: dict[str, Any], old: Old) -> list[str]:
    """Write a line on every key: of those carried over, of the others, and of what no key says."""
    kept, lost = ["carried over:"], ["no counterpart:"]
    for key, outcome in outcomes.items():
        absent = "" if key in given else " (absent, the original's default)"
        (kept if outcome.settings else lost).append(f"  {key} = {old[key]!r}{absent} -> {_words(outcome)}")
    unsaid = ["what the original does without a key:", *(f"  {_words(outcome)}" for outcome in UNSAID)]
    unknown = [f"  {key} = {value!r}" for key, value in given.items() if key not in KEYS]
    unknown = ["unknown to the original and to this program, left out:", *unknown] if unknown else []
    return [*kept, *lost, *unsaid, *unknown]


def _words(outcome: Outcome) -> str:
    shown = ", ".join(f"{key} = {value!r}" for key, value in outcome.settings.items())
    return f"{shown} ({outcome.note})" if shown and outcome.note else shown or outcome.note


def render(settings: dict[str, Any], old: Path, new: Path) -> str:
    """Write a configuration as YAML with what differs from bigfoot's defaults, its command at the head."""
    defaults = dict(_flatten(to_dict(Config()), ""))
    different = OmegaConf.create({})
    for key, value in settings.items():
        if defaults[key] != value:
            OmegaConf.update(different, key, value)
    head = [f"python recipes/compress.py --config {new}", "", f"Converted from {old} by tools/convert_kd_config.py."]
    return "".join(f"# {line}".rstrip() + "\n" for line in head) + OmegaConf.to_yaml(different)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python tools/convert_kd_config.py",
        description="Turn a YAML file of the Knowledge-Distillation-Toolkit (or of its follow-up with conv_groups) "
        "into one of bigfoot, and say of every key what became of it.",
        epilog="example: python tools/convert_kd_config.py demo_config.yaml configs/mine.yaml --steps_per_epoch 1784",
    )
    parser.add_argument("old", type=Path, metavar="OLD.yaml", help="the toolkit's file, left as it is")
    parser.add_argument("new", type=Path, metavar="NEW.yaml", help="where to write bigfoot's")
    parser.add_argument(
        "--steps_per_epoch", type=int, metavar="N",
        help="optimizer steps of an epoch: utterances / (train_batch_size x accumulate_grad_batches x GPUs); "
        "without it max_epoch and num_lr_warm_up_epoch are listed for you to set",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite NEW.yaml")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 2 where something has to be put right first.
    """
    options = build_parser().parse_args(arguments)
    try:
        if options.new.exists() and not options.force:
            message = "is already there; choose another name, or --force to overwrite it"
            raise ConfigError([Problem(str(options.new), "exists", message)])
        if options.steps_per_epoch is not None and options.steps_per_epoch < 1:
            message = f"must be above 0, got {options.steps_per_epoch}"
            raise ConfigError([Problem("--steps_per_epoch", "out_of_range", message)])
        settings, lines = convert(read_old(options.old), options.steps_per_epoch, options.new.stem)
        content = render(settings, options.old, options.new).encode("utf-8")
        write_file(options.new, content, may=MayReplace(options.force, inputs=[options.old]), listed=False)
        _, problems = read_config(options.new)
    except (BigfootError, OSError, OmegaConfBaseException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    print(f"written: {options.new}")
    for problem in problems:
        print(f"still to be put right: {problem}", file=sys.stderr)
    return 2 if problems else 0


if __name__ == "__main__":
    with plain_errors():
        sys.exit(main())
