"""The distilling run meets a file-size limit, or a file where a folder should be: the last good checkpoint stays."""

import errno
import os

import pytest

from bigfoot.training.loop import RESUMING
from tests.pipeline.killing import assert_same_weights, kill, log_of, wait_for
from tests.refusals import names

pytestmark = pytest.mark.slow


def test_a_file_size_limit_leaves_the_last_good_checkpoint(uninterrupted, command, launch, tmp_path):
    folder = tmp_path / "run"
    checkpoint = folder / "distill" / "checkpoint"
    process = launch.start(*command(folder))
    wait_for((checkpoint / "progress.json").exists, process)
    assert kill(process)
    sizes = sorted((file.stat().st_size for file in checkpoint.iterdir()), reverse=True)
    # Between model and optimizer: the model can be written, the checkpoint cannot.
    done = launch.run(*command(folder), most_bytes=(sizes[0] + sizes[1]) // 2)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert names(done.stderr, checkpoint) and done.stderr.startswith("error: step ")
    assert (checkpoint / "progress.json").exists() and not list(checkpoint.parent.glob(".checkpoint*"))
    done = launch.run(*command(folder))
    assert done.returncode == 0, done.stderr
    assert log_of(folder).count(RESUMING) == 2
    assert_same_weights(uninterrupted, folder)


def test_a_model_that_cannot_be_written_is_reported(command, launch, tmp_path):
    done = launch.run(*command(tmp_path / "run", "distill.eval_every=2"), most_bytes=60_000)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith("error: ") and names(done.stderr, tmp_path / "run", os.strerror(errno.EFBIG))


def test_a_file_where_the_checkpoint_should_be(uninterrupted, command, launch, tmp_path):
    folder = tmp_path / "run"
    (folder / "distill").mkdir(parents=True)
    (folder / "distill" / "checkpoint").write_text("mine")
    done = launch.run(*command(folder))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert names(done.stderr, "error: step 7", folder / "distill" / "checkpoint")
    (folder / "distill" / "checkpoint").unlink()
    done = launch.run(*command(folder))
    assert done.returncode == 0, done.stderr
    assert_same_weights(uninterrupted, folder)
