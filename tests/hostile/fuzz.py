"""Break files until a reader falls over: inputs that coverage leads to, for hours if wished.

    pip install atheris
    python -m tests.hostile.fuzz --minutes 60 --output FOLDER

Each reader may read what it gets, or raise ValueError with one line that names the file; within 10
seconds and 1 GB, and without a file outside its folder. All else is a fault: the first input of
each kind is kept below FOLDER, and becomes a test. The last line counts inputs and faults.
"""

import argparse
import hashlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import atheris

INSTRUMENTED = ("espnet_psslm", "kaldiio", "tarfile", "zipfile", "yaml", "numpy.lib._format_impl")
with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
    from tests.hostile.readers import READERS, fault_of

LIMIT_S = 10
LIMIT_MB = 1024
TOO_LONG = 70  # exit code of libFuzzer
LONGEST = 8192  # bytes of an input


def fuzz(name: str, seconds: int, output: Path, counts: Sequence[Synchronized]) -> None:
    """Run libFuzzer in this process; it does not return.

    Args:
        name: of the reader.
        seconds: how long.
        output: where faults are kept.
        counts: of inputs, and of kinds of faults; shared with the parent.
    """
    folder = Path(tempfile.mkdtemp(prefix="fuzz_")) / "place"
    corpus = output / "corpus" / name
    for place in (folder, corpus):
        place.mkdir(parents=True, exist_ok=True)
    for seed in READERS[name].seeds(folder):
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    kinds: set[str] = set()

    def one_input(data: bytes) -> None:
        counts[0].value += 1
        kind = fault_of(name, data, folder)
        if kind is not None and kind not in kinds:
            kinds.add(kind)
            counts[1].value += 1
            (output / f"{name}-{counts[1].value}.bin").write_bytes(data)
            print(f"{name}-{counts[1].value}: {kind}", flush=True)

    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = size + LIMIT_MB * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    options = [
        *(
            f"-max_total_time={seconds}",
            f"-timeout={LIMIT_S}",
            f"-timeout_exitcode={TOO_LONG}",
            f"-max_len={LONGEST}",
        ),
        *("-rss_limit_mb=0", "-verbosity=0", f"-artifact_prefix={output}/{name}-"),
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input)
    atheris.Fuzz()


def in_process(target: Callable[..., None], *arguments: object) -> int:
    """Exit code of a forked process that runs ``target``."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def main(cmd: Sequence[str] | None = None) -> None:
    """Fuzz each reader for its share of the time.

    Args:
        cmd: arguments; None reads the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--output", type=Path, required=True, help="folder for faults and corpus")
    args = parser.parse_args(cmd)
    tried = faults = 0
    for name in READERS:
        end = time.monotonic() + 60 * args.minutes / len(READERS)
        counts = [multiprocessing.Value("l", 0, lock=False) for _ in range(2)]
        # An input that takes too long or kills the process: another one goes on from the corpus.
        while (left := round(end - time.monotonic())) > 0:
            code = in_process(fuzz, name, left, args.output, counts)
            if code > 0 and code != TOO_LONG:
                sys.exit(f"{name}: the fuzzer itself has failed")
            counts[1].value += code != 0
        print(f"{name}: {counts[0].value} inputs, {counts[1].value} faults", flush=True)
        tried, faults = tried + counts[0].value, faults + counts[1].value
    print(f"{tried} inputs, {faults} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
