"""The list of steps from a teacher to a report: what is done, what is stale, what comes next."""

from bigfoot.pipeline.run import STAGES, run_pipeline

__all__ = ["STAGES", "run_pipeline"]
