"""From a waveform to CTC posteriors: log-mel frontend, Whisper encoder, CTC search."""
