"""What a Whisper-CTC training run of the tests reads: tones, a random encoder."""

import json
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml
from transformers import WhisperConfig, WhisperModel

from tests.tiny_training import BRIEF

# Texts of one to three tones: short audio that a tiny random encoder tells apart.
WORDS = {"low": 300, "mid": 900, "high": 2500}
NUM_UTTS = 12
CONFIG = BRIEF | {
    "frontend": "whisper_log_mel",
    "encoder": "hf_whisper",
    "encoder_conf": {"freeze": "encoder", "conv_kernel": 3, "conv_stride": 3},
    "normalize": None,
    "decoder": None,
    "model_conf": {"ctc_weight": 1.0, "report_cer": False, "report_wer": False},
    "optim_conf": {"lr": 1.0e-2},
    "batch_type": "numel",
    "batch_bins": 100000,
    "max_epoch": 2,
    "keep_nbest_models": 2,
    "token_type": "bpe",
}


def write_data_dir(folder: Path) -> Path:
    """A data folder as stages 3 and 4 leave it."""
    rng = np.random.default_rng(0)
    lines: dict[str, list[str]] = {name: [] for name in ("wav.scp", "text", "utt2num_samples")}
    rows = []
    for index in range(NUM_UTTS):
        words = [list(WORDS)[(index + place) % 3] for place in range(1 + index % 3)]
        time = np.arange(4000 + 100 * index) / 16000
        signal = np.concatenate([0.3 * np.sin(2 * np.pi * WORDS[word] * time) for word in words])
        signal += 0.01 * rng.standard_normal(len(signal))
        utt, text, path = f"utt{index:02d}", " ".join(words), folder / f"{index}.wav"
        soundfile.write(path, signal, 16000)
        values = (path, text, len(signal))
        for name, value in zip(lines, values, strict=True):
            lines[name].append(f"{utt} {value}\n")
        row = {"key": f"{utt}-ASR", "task": "ASR", "target": text, "GT": text, "utt": utt}
        rows.append(json.dumps({**row, "path": str(path)}) + "\n")
    lines["speech_shape"], lines["psslm.jsonl"] = lines["utt2num_samples"], rows
    for name, content in lines.items():
        (folder / name).write_text("".join(content))
    return folder


def save_whisper(folder: Path) -> None:
    """Save a random Whisper of two layers."""
    torch.manual_seed(0)
    whisper = WhisperConfig(
        vocab_size=60, d_model=32, encoder_layers=2, encoder_attention_heads=2,
        encoder_ffn_dim=64, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64,
        max_source_positions=200, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    WhisperModel(whisper).save_pretrained(folder)


class Setting:
    """Everything a training run reads, and the command line for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = write_data_dir(folder)
        save_whisper(folder / "whisper")
        self._train_units()

    def _train_units(self) -> None:
        from espnet_psslm.bin.train_units import main

        options = ["--vocab_size", "15", "--output_dir", str(self.folder / "units")]
        main(["--text", str(self.data / "text"), *options])

    def command(self, output: Path, **changes: object) -> list[str]:
        config = {**CONFIG, **changes}
        encoder = {"name": str(self.folder / "whisper"), **config["encoder_conf"]}
        path = self.folder / "train.yaml"
        path.write_text(yaml.safe_dump({**config, "encoder_conf": encoder}))
        command = ["--config", str(path), "--output_dir", str(output), "--resume", "true"]
        command += ["--token_list", str(self.folder / "units/tokens.txt")]
        command += ["--bpemodel", str(self.folder / "units/bpe.model")]
        for name in ("train", "valid"):
            for source in ("wav.scp,speech,psslm_audio", "text,text,text"):
                command += [f"--{name}_data_path_and_name_and_type", f"{self.data}/{source}"]
            command += [f"--{name}_shape_file", f"{self.data}/speech_shape"]
        return command

    def model_options(self, exp: Path) -> list[str]:
        options = ["--asr_train_config", str(exp / "config.yaml")]
        options += ["--asr_model_file", str(exp / "valid.loss.ave.pth"), "--device", "cpu"]
        return [*options, "--data_dir", str(self.data)]
