"""Training data of the bridge as a stream of text, where the data type says so."""

import argparse
from collections.abc import Sequence

import torch
from espnet2.tasks.abs_task import IteratorOptions
from espnet2.train.dataset import DATA_TYPES

from espnet_psslm.data.shards import Shards, find_shards
from espnet_psslm.data.stream import TextStream
from espnet_psslm.data.stream_loader import StreamIterFactory
from espnet_psslm.training.mixed_batches import FIXED_SIZES

SHARDS_TYPE = "psslm_shards"
DATA_TYPES[SHARDS_TYPE] = {
    "func": find_shards,
    "kwargs": [],
    "help": "JSON Lines of text only, streamed: a folder of *.jsonl, a pattern, a .jsonl file, or "
    "a file that lists them; to train on, without shape files",
}


def streamed(data: Sequence[Sequence[str]]) -> bool:
    """Whether (path, name, type) of a data option speak of shards."""
    return any(data_type == SHARDS_TYPE for _, _, data_type in data)


def build_stream(
    args: argparse.Namespace, iter_options: IteratorOptions, mode: str
) -> StreamIterFactory:
    """Batches from shards.

    Args:
        args: the configuration.
        iter_options: ESPnet's, of the training data.
        mode: ``train``.

    Raises:
        ValueError: if an option does not go with shards.
    """
    data = iter_options.data_path_and_name_and_type
    if mode != "train":
        raise ValueError(
            f"--valid_data_path_and_name_and_type {','.join(data[0])}: shards are to train on; "
            "validate on a manifest (psslm_jsonl)"
        )
    if len(data) != 1 or data[0][1] != "sample":
        raise ValueError(
            f"training data {data}: give one FOLDER_OR_PATTERN_OR_LIST,sample,{SHARDS_TYPE}"
        )
    if iter_options.batch_type not in FIXED_SIZES:
        raise ValueError(
            f"batch_type: {iter_options.batch_type} with shards, whose lengths are not known "
            "beforehand: set batch_type to sorted (rows of similar length) or unsorted"
        )
    if args.audio_share is not None:
        raise ValueError("audio_share with shards, which are text only: leave it out")
    stream = TextStream(
        Shards(find_shards(data[0][0])),
        batch_size=iter_options.batch_size,
        by_length=iter_options.batch_type == "sorted",
        seed=args.seed,
        **args.stream_conf,
    )
    several = iter_options.distributed
    return StreamIterFactory(
        stream,
        preprocessor=iter_options.preprocess_fn,
        collate=iter_options.collate_fn,
        output_dir=args.output_dir,
        num_batches=iter_options.num_iters_per_epoch,
        num_workers=args.num_workers,
        rank=torch.distributed.get_rank() if several else 0,
        world_size=torch.distributed.get_world_size() if several else 1,
        pin_memory=args.ngpu > 0,
    )
