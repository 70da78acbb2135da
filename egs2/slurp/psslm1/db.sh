# shellcheck shell=bash
# Sourced by local/data.sh: where the corpus lies. The environment may set it too.
# Text: github.com/pswietojanski/slurp; audio: its audio/download.sh. It holds dataset/slurp/*.jsonl,
# audio/slurp_real and audio/slurp_synth.
SLURP=${SLURP:-}
