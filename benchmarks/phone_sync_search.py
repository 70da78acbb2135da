"""Row ``phone_sync_search``: CTC prefix beam search, by the steps of the reduction or by frames.

frames: published and plain alike: the beam advances over every frame. Both searches are ours, with
the same beam, and are given the same posteriors, made before, in the groups that decoding makes.

The CTC model of a finished recipe, on its test set: as it is, and with its strided convolution
applied at every frame (20 ms, 50 Hz) with the same weights. Target: ``SHARE`` of the frames per
step, and on 50 Hz at least ``LEAST``; WER at most ``WER_ABOVE`` points above that by frames.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from benchmarks.measure import Case, Setting
from espnet_psslm.acoustic.ctc_search import CTCSearch, SearchResult
from espnet_psslm.acoustic.model import CTCAcoustic, load_ctc_acoustic
from espnet_psslm.acoustic.prefix_beam import PrefixBeamSearch
from espnet_psslm.acoustic.recognise import posteriors
from espnet_psslm.bridge.phone_sync_search import PhoneSyncBeamSearch
from espnet_psslm.data.audio import read_scp
from espnet_psslm.data.audio_batches import AudioBatches
from espnet_psslm.score.error_rate import error_rate

SHARE = 0.8
LEAST = 3.0
WER_ABOVE = 0.1  # points
CACHE_LINE = 64  # bytes that looking at one number costs
Group = tuple[list[str], Tensor, Tensor]  # utterances, log posteriors, lengths


@dataclass(frozen=True)
class Size:
    """One size of the row."""

    every_frame: bool = False  # the strided convolution at every frame
    batches: int | None = None  # None: all
    batch: int = 16
    beams: int = 10


FULL = (Size(), Size(every_frame=True))
QUICK = (Size(batches=2),)


def without_stride(acoustic: CTCAcoustic) -> None:
    """Apply the convolution behind the encoder at every frame."""
    layer = acoustic.model.encoder.downsample
    layer.stride, layer.conv.stride = 1, (1,)
    acoustic.frame_shift_s = acoustic.model.encoder.frame_shift_s


def hear(acoustic: CTCAcoustic, audio: AudioBatches, size: Size) -> list[Group]:
    """Posteriors of all utterances."""
    audio.batches = audio.batches[: size.batches]
    return list(posteriors(acoustic, audio))


def search_all(search: CTCSearch, groups: Sequence[Group]) -> list[SearchResult]:
    """What is timed."""
    return [search(log_posterior, lengths) for _, log_posterior, lengths in groups]


def word_errors(
    results: Sequence[SearchResult], groups: Sequence[Group], acoustic: CTCAcoustic, refs: dict
) -> float:
    """WER in percent."""
    hyps = {
        utt: acoustic.units.decode(hypotheses[0].unit_ids)
        for result, (utt_ids, _, _) in zip(results, groups, strict=True)
        for utt, hypotheses in zip(utt_ids, result.nbest, strict=True)
    }
    return 100 * error_rate({utt: refs[utt] for utt in hyps}, hyps, unit="word", seed=0).rate


def cases(setting: Setting, *, sizes: tuple[Size, ...] | None = None) -> Iterator[Case]:
    """The sizes of this row; paths of a recipe start at its folder."""
    if sizes is None:
        sizes = QUICK if setting.quick else FULL
    with contextlib.chdir(setting.recipe):
        exp, data = setting.recipe / "exp/ctc", setting.recipe / "dump/raw/test"
        for size in sizes:
            acoustic = load_ctc_acoustic(
                exp / "config.yaml", exp / "valid.loss.ave.pth", setting.machine.device
            )
            if size.every_frame:
                without_stride(acoustic)
            groups = hear(acoustic, AudioBatches(data, batch_size=size.batch), size)
            yield make_case(setting, acoustic, groups, read_scp(data / "text"), size)


def make_case(
    setting: Setting, acoustic: CTCAcoustic, groups: list[Group], refs: dict, size: Size
) -> Case:
    """A case of posteriors that are known."""
    options = {"blank_id": acoustic.blank_id, "beam_size": size.beams}
    searches = {"ours": PhoneSyncBeamSearch(**options), "frames": PrefixBeamSearch(**options)}
    found = {name: search_all(search, groups) for name, search in searches.items()}
    count = {name: sum(sum(r.num_steps) for r in found[name]) for name in found}
    wer = {name: word_errors(found[name], groups, acoustic, refs) for name in found}
    ratio = count["frames"] / count["ours"]
    num_utts = sum(len(utt_ids) for utt_ids, _, _ in groups)
    hertz = 1 / acoustic.frame_shift_s
    moved = 4 * acoustic.num_units * count["ours"] + CACHE_LINE * count["frames"]

    def check() -> None:
        assert wer["ours"] <= wer["frames"] + WER_ABOVE, f"WER {wer}"

    return Case(
        row="phone_sync_search",
        size=(
            f"{num_utts} utterances, {hertz:.0f} Hz, {ratio:.2f} frames per step, "
            f"WER {wer['ours']:.2f} %, by frames {wer['frames']:.2f} %"
        ),
        ways={
            name: lambda search=search: search_all(search, groups)
            for name, search in searches.items()
        },
        against="frames",
        target=max(SHARE * ratio, LEAST if size.every_frame else 0.0),
        # A step's posterior and every frame's blank are read once; what beams do is not counted.
        bound_s=setting.machine.seconds(moved=moved),
        items=count["frames"],
        unit="frames",
        check=check,
    )
