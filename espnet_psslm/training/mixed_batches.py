"""Batches of which a given share has audio or dumped Steps."""

import argparse

from espnet2.iterators.sequence_iter_factory import SequenceIterFactory
from espnet2.tasks.abs_task import IteratorOptions

from espnet_psslm.data.mixture import MixedSampler

FIXED_SIZES = ("unsorted", "sorted")  # batch types that count samples


def mixed_batches(
    args: argparse.Namespace, iter_options: IteratorOptions, factory: SequenceIterFactory
) -> MixedSampler:
    """ESPnet's batches, drawn so that ``audio_share`` of each has audio or dumped Steps.

    Raises:
        ValueError: if batches are not of a fixed number of samples, or cannot be mixed so.
    """
    if iter_options.batch_type not in FIXED_SIZES:
        raise ValueError(
            f"audio_share with batch_type: {iter_options.batch_type}, which fills batches by "
            f"length: what is drawn instead may not fit; set batch_type to one of {FIXED_SIZES}"
        )
    if args.shuffle_within_batch:
        raise ValueError("audio_share with shuffle_within_batch, which undoes it: set it to false")
    rows = factory.dataset.loader_dict["sample"]
    source_of = iter_options.preprocess_fn.source_of
    return MixedSampler(
        factory.sampler.generate(0),
        is_audio=lambda key: source_of(rows[key]) != "text",
        audio_share=args.audio_share,
    )
