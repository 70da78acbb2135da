# shellcheck shell=bash
# Sourced by local/data.sh: where the corpus lies. The environment may set it too.
# A release from commonvoice.mozilla.org, unpacked; it holds a folder a language: en/train.tsv,
# en/clips/*.mp3 and so on.
COMMONVOICE=${COMMONVOICE:-}
