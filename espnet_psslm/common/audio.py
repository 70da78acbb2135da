"""What all that touches audio agrees on."""

SAMPLE_RATE = 16000  # Hz, what every acoustic model here expects
