"""The one place that adds our classes to ESPnet's choices.

ESPnet2 has no plugin discovery. Programs that train or load our models through ESPnet's own
tasks call :func:`register` first; spawned data workers import such a module again.
"""

from espnet_psslm.data.audio import AudioScpReader

AUDIO_TYPE = "psslm_audio"


def register() -> None:
    """Add frontend ``whisper_log_mel``, encoder ``hf_whisper``, model ``gathered_ctc``, scheduler
    ``warmupcosinelr`` and data type ``psslm_audio``.

    May be called any number of times. Imports ESPnet's ASR task, which takes over ten seconds.
    """
    from espnet_psslm.device import prepare_training

    prepare_training()
    from espnet2.tasks.asr import encoder_choices, frontend_choices, model_choices
    from espnet2.train.dataset import DATA_TYPES

    from espnet_psslm.acoustic.gathered_ctc import GatheredCTCModel
    from espnet_psslm.acoustic.log_mel import WhisperLogMel
    from espnet_psslm.acoustic.whisper import HFSpeechEncoder
    from espnet_psslm.tasks import schedulers  # noqa: F401  # its schedule adds itself

    frontend_choices.classes["whisper_log_mel"] = WhisperLogMel
    encoder_choices.classes["hf_whisper"] = HFSpeechEncoder
    model_choices.classes["gathered_ctc"] = GatheredCTCModel
    DATA_TYPES[AUDIO_TYPE] = {
        "func": AudioScpReader,
        "kwargs": [],
        "help": "Audio of any kind, 16 kHz mono float32 in [-1, 1]: utt, then a file (wav, flac, "
        "mp3, m4a, webm, ogg), or path.ark:offset",
    }
