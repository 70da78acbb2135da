"""The acoustic models that a configuration can choose."""

from espnet_psslm.acoustic.base import AcousticModel
from espnet_psslm.acoustic.choice import WHISPER_CTC
from espnet_psslm.acoustic.model import CTCAcoustic
from espnet_psslm.acoustic.plain_whisper import PlainWhisper
from espnet_psslm.acoustic.sensevoice import SenseVoice

ACOUSTIC_MODELS: dict[str, type[AcousticModel]] = {
    WHISPER_CTC: CTCAcoustic,
    "sensevoice": SenseVoice,
    "whisper": PlainWhisper,
}
