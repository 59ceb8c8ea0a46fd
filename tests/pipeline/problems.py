"""What is wrong with a configuration, as tests ask for it."""

from bigfoot.pipeline.checks import find_problems
from bigfoot.pipeline.plan import resolve_plan
from bigfoot.pipeline.scale import apply_scale
from bigfoot.pipeline.settings import read_config


def problems_of(overrides, path=None):
    """All problems of a configuration: of its values, then of its models, its corpus and this machine."""
    config, problems = read_config(path, overrides)
    return list(find_problems(resolve_plan(apply_scale(config)), problems))
