"""SenseVoiceSmall through FunASR's own classes: waveform in, CTC posterior and encoder output out.

Features are 80 Kaldi filter banks, seven frames of 10 ms side by side every six (560 values every
60 ms), normalised by ``am.mvn``. Four learned query frames stand before them: language, event,
emotion, text normalisation; their outputs are cut off again. Nothing is dithered: FunASR's default
adds noise, with which two runs differ by 7e-3.

Legend: B batch, N samples, T frames of 60 ms, V units, D encoder width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from espnet_psslm.acoustic.base import AcousticModel
from espnet_psslm.common.tensors import load_tensors
from espnet_psslm.common.yaml_file import read_mapping
from espnet_psslm.text.units import load_sentencepiece
from espnet_psslm.weights import resolve_weights

if TYPE_CHECKING:
    from funasr.frontends.wav_frontend import WavFrontend
    from funasr.models.sense_voice.model import SenseVoiceSmall

# Language, event, emotion, text normalisation (15 without, 14 with inverse text normalisation).
FUNASR_QUERIES = (0, 1, 2, 15)
BPE_MODEL = "chn_jpn_yue_eng_ko_spectok.bpe.model"


class SenseVoice(AcousticModel):
    """A SenseVoiceSmall model.

    Args:
        model: FunASR's.
        frontend: FunASR's; its dither is set to 0.
        token_list: V units.
        query_ids: rows of the model's query table, in the order of the frames. FunASR's default;
            the published PS-SLM checkpoints were trained with (0, 1, 2, 2).
        max_duration_s: longest utterance that attention sees at once.

    Raises:
        ValueError: if there are not four queries of the table.
    """

    blank_id = 0
    frame_shift_s = 0.06

    def __init__(
        self,
        model: "SenseVoiceSmall",
        frontend: "WavFrontend",
        *,
        token_list: Sequence[str],
        query_ids: Sequence[int] = FUNASR_QUERIES,
        max_duration_s: float = 30.0,
    ) -> None:
        super().__init__()
        rows = model.embed.num_embeddings
        if len(query_ids) != 4 or not all(0 <= query < rows for query in query_ids):
            raise ValueError(f"query_ids {list(query_ids)}: needs four numbers in [0, {rows})")
        self.model = model.requires_grad_(False)
        self.frontend = frontend
        self.frontend.dither = 0.0
        self.token_list = list(token_list)
        self.feature_width: int = model.encoder_output_size
        self.query_ids = tuple(query_ids)
        self.max_duration_s = max_duration_s
        self.eval()

    @classmethod
    def load(
        cls,
        *,
        name: str,
        hub: str = "modelscope",
        query_ids: Sequence[int] = FUNASR_QUERIES,
        max_duration_s: float = 30.0,
    ) -> "SenseVoice":
        return load_sensevoice(name, hub=hub, query_ids=query_ids, max_duration_s=max_duration_s)

    def encode_frames(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of the query frames are cut off."""
        features, lengths = self.frontend(speech, speech_lengths.tolist())
        query = torch.tensor([self.query_ids], device=self.device)
        query = self.model.embed(query).expand(len(features), -1, -1)
        count = query.shape[1]
        lengths = lengths.to(self.device)
        encoded, _ = self.model.encoder(
            torch.cat([query, features.to(self.device)], 1), lengths + count
        )
        return encoded[:, count:], lengths

    @torch.no_grad()
    def classify(self, features: Tensor) -> Tensor:
        return self.model.ctc.log_softmax(features).float()


def load_sensevoice(name: str, *, hub: str = "modelscope", **options: Any) -> SenseVoice:
    """Load a SenseVoiceSmall.

    Args:
        name: folder with ``config.yaml``, ``am.mvn``, ``model.pt`` and the SentencePiece model; or
            the id of such a model on a hub, e.g. ``iic/SenseVoiceSmall``.
        hub: ``modelscope`` or ``huggingface``.
        options: of ``SenseVoice``.

    Raises:
        ValueError: if a file is missing, or the weights are others than the configuration's.
    """
    from funasr.frontends.wav_frontend import WavFrontend
    from funasr.models.sense_voice.model import SenseVoiceSmall

    path = Path(resolve_weights(name))
    folder = path if path.is_dir() else _download(name, hub)
    for part in ("config.yaml", "am.mvn", "model.pt", BPE_MODEL):
        if not (folder / part).is_file():
            raise ValueError(f"SenseVoice '{name}': no file {part} in {folder}")
    config = read_mapping(folder / "config.yaml")
    units = load_sentencepiece(folder / BPE_MODEL)
    frontend_conf = config["frontend_conf"] | {"cmvn_file": str(folder / "am.mvn")}
    frontend = WavFrontend(**frontend_conf)
    model = SenseVoiceSmall(
        encoder=config["encoder"],
        encoder_conf=config["encoder_conf"],
        input_size=frontend.output_size(),
        vocab_size=units.get_piece_size(),
        **config["model_conf"],
    )
    state = load_tensors(folder / "model.pt", option="SenseVoice")
    try:
        model.load_state_dict(state.get("state_dict", state), strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"SenseVoice '{name}': model.pt does not fit config.yaml: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    tokens = [units.id_to_piece(unit) for unit in range(units.get_piece_size())]
    return SenseVoice(model, frontend, token_list=tokens, **options)


def _download(name: str, hub: str) -> Path:
    """The folder of a hub's model, fetched unless it is there."""
    errors: tuple[type[Exception], ...] = (OSError,)
    if hub == "modelscope":
        from modelscope import snapshot_download
        from modelscope_hub.errors import HubError

        errors += (HubError,)
    elif hub == "huggingface":
        from huggingface_hub import snapshot_download
    else:
        raise ValueError(f"hub '{hub}' is unknown; use modelscope or huggingface")
    try:
        return Path(snapshot_download(name))
    except errors as error:
        raise ValueError(
            f"SenseVoice '{name}': neither a folder nor a model that {hub} gives out "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
