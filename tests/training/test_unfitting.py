from pathlib import Path

import numpy as np

from bigfoot.audio.files import write_audio
from bigfoot.data.cuts import write_manifest
from bigfoot.data.manifests import ListedUtterance, check_utterances
from bigfoot.data.settings import DataConfig
from bigfoot.training.unfitting import describe_unfitting
from tests.refusals import names


def test_transcripts_that_need_more_frames_than_there_are_are_counted(build_model, processor, tmp_path):
    rng = np.random.default_rng(0)
    listed = []
    # A second has 49 frames. 40 letters fit, 25 times the same letter needs a blank between any two: 49, and so on.
    for name, text in (("fits", "AB" * 20), ("just", "A" * 25), ("over", "A" * 26), ("far", "HELLO " * 30)):
        path = tmp_path / f"{name}.flac"
        write_audio(path, (0.1 * rng.standard_normal(16_000)).astype(np.float32))
        listed.append(ListedUtterance(name, path, text, "ann"))
    cuts, skipped = check_utterances(listed, "train", DataConfig(), None, verify=False)
    assert not skipped
    manifest = Path(tmp_path) / "cuts.jsonl.gz"
    write_manifest(cuts, manifest)
    (message,) = describe_unfitting(manifest, processor, build_model("base"))
    assert message.startswith("2 of 4 ")
    assert names(message, "51", "49") and "just" not in message
    write_manifest(cuts[:2], manifest)
    assert describe_unfitting(manifest, processor, build_model("base")) == []
