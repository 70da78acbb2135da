"""Whisper-CTC and a phone-synchronous speech language model for ESPnet2."""

__version__ = "0.1.0"
