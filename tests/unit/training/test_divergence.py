"""Trainings that diverge, told by what ESPnet's trainer would report."""

from types import SimpleNamespace

import pytest
from espnet2.train.reporter import Reporter
from espnet2.train.trainer import Trainer

from espnet_psslm.training.divergence import watched

NAN = float("nan")


def trainer(losses: list[float], *, invalid: bool) -> type[Trainer]:
    """One whose epochs have these losses."""

    class Told(Trainer):
        @classmethod
        def train_one_epoch(cls, *, reporter, **_):
            for loss in losses:
                reporter.register({"loss": loss}, 1)
                reporter.next()
            return invalid

        @classmethod
        def validate_one_epoch(cls, **options):
            cls.train_one_epoch(**options)

    return watched(Told)


@pytest.fixture
def run():
    def start(what, losses, *, invalid=False, accum_grad=1):
        options = SimpleNamespace(accum_grad=accum_grad, output_dir="exp/ctc")
        with Reporter(3).observe(what) as reporter:
            step = getattr(trainer(losses, invalid=invalid), what)
            return step(reporter=reporter, options=options)

    return start


@pytest.mark.parametrize(
    ("losses", "accum_grad", "match"),
    [
        ([NAN, NAN], 1, "epoch 3: .* every loss is NaN or infinite.*exp/ctc/checkpoint.pth"),
        ([1.0, 2.0], 1, "epoch 3: .* every gradient is NaN or infinite.*lower the learning rate"),
        ([1.0, 2.0], 4, "epoch 3: .* accum_grad 4 is more than the 2 batches"),
        ([], 1, "epoch 3: .* there was no batch"),
    ],
)
def test_an_epoch_without_an_update(run, losses, accum_grad, match):
    with pytest.raises(ValueError, match=match):
        run("train_one_epoch", losses, invalid=True, accum_grad=accum_grad)


def test_an_epoch_that_cannot_be_judged(run):
    with pytest.raises(ValueError, match="epoch 3: every loss on the validation set is NaN"):
        run("validate_one_epoch", [NAN, float("inf")])


@pytest.mark.parametrize("losses", [[1.0, 2.0], [NAN, 2.0]])
def test_others_go_on(run, losses):
    assert run("train_one_epoch", losses) is False
    run("validate_one_epoch", losses)
    run("validate_one_epoch", [])
