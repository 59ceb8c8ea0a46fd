"""Workers that a training gets by itself, and masks that they draw: the batches and masks of none."""

from dataclasses import replace

import pytest
import torch

from bigfoot.data.batches import Position, training_batches
from bigfoot.data.settings import AugmentConfig, DataConfig, SpecAugmentConfig
from bigfoot.models.streaming_shape import StreamingShape
from bigfoot.training import feeding
from bigfoot.training.feeding import Feed, count_later, count_workers
from bigfoot.training.loop import Trainer, train
from bigfoot.training.masking import MaskDrawer
from tests.training.test_loop import assert_equal, make_objective, make_run, weights  # noqa: F401 - fixtures

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("processors", "processes", "device", "first", "later"),
    [
        (2, 1, CPU, 0, 1), (1, 1, CPU, 0, 1), (16, 1, CPU, 0, 2), (16, 1, GPU, 8, 0), (16, 8, GPU, 1, 0),
        (1, 1, GPU, 1, 0),
    ],
)
def test_workers_of_a_machine(processors, processes, device, first, later, monkeypatch):
    monkeypatch.setattr(feeding, "count_processors", lambda: processors)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert count_workers("auto", device) == first and count_later("auto", device)[0] == later
    assert count_workers(3, device) == 3 and count_later(3, device)[0] == 0


def test_a_busy_processor_is_shared_for_more_than_an_idle_one(monkeypatch):
    monkeypatch.setattr(feeding, "count_processors", lambda: 2)
    shares = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        shares.append(count_later("auto", CPU)[1])
    assert shares[0] < shares[1]


@pytest.mark.slow
def test_a_stream_that_gets_workers_is_the_same_with_its_masks(small_digits, processor, monkeypatch):
    spec = SpecAugmentConfig(mask_time_prob=0.3, mask_feature_prob=0.2)
    drawer = MaskDrawer(lambda lengths: lengths // 320, 24, spec, 3, StreamingShape(8, 1, dynamic=True))
    data = DataConfig(batch_seconds=6.0, num_buckets=2, augment=AugmentConfig(speed=[0.9, 1.1]))
    opened = []

    def open_(position, workers):
        opened.append((position, workers))
        return training_batches(
            small_digits.manifests["train"], processor, replace(data, num_workers=workers), 5, position,
            draw_masks=drawer if workers else None,
        )  # fmt: skip

    monkeypatch.setattr(feeding, "_SOON", 0.0)
    feed = Feed("t", open_, Position(), "auto", CPU)
    feed._later, feed._worth = 2, -1.0
    found = [next(feed) for _ in range(9)]
    expected = open_(Position(), 0)
    assert opened[0] == (Position(), 0) and opened[1] == (found[4].position, 2) and feed.workers == 2
    for number, one in enumerate(found):
        other = next(expected)
        assert one.ids == other.ids and one.position == other.position
        assert torch.equal(one.input_values, other.input_values)
        masks = drawer(other)
        assert (one.masks is None) == (number < 5)
        assert one.masks is None or all(torch.equal(one.masks[name], mask) for name, mask in masks.items())
        assert masks["mask_time_indices"].any() and masks["chunk_frames"].ndim == 0


def test_no_worker_comes_where_nothing_is_waited_for(small_digits, processor, monkeypatch):
    monkeypatch.setattr(feeding, "_SOON", 0.0)
    data = DataConfig(batch_seconds=6.0, num_buckets=2)
    opened = []

    def open_(position, workers):
        opened.append(workers)
        return training_batches(small_digits.manifests["train"], processor, data, 5, position)

    feed = Feed("t", open_, Position(), "auto", CPU)
    feed._worth = 2.0
    assert [next(feed) for _ in range(7)] and opened == [0]


@pytest.mark.slow
def test_masks_of_workers_train_as_others_do(make_objective, make_run, tmp_path, monkeypatch):  # noqa: F811
    def run(folder, workers, **changes):
        data = DataConfig(batch_seconds=6.0, num_buckets=2, num_workers=workers)
        objective = make_objective(hidden_dropout=0.1)
        train(objective, make_run(folder=tmp_path / folder, data=data, masks=True, **changes))
        return weights(objective.student)

    expected = run("none", 0)
    after = Trainer._after_step

    def die(self, *given):
        after(self, *given)
        if self.progress.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "_after_step", die)
        run("some", 2)
    assert_equal(expected, run("some", "auto"))
