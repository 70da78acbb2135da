# shellcheck shell=bash
# Sourced by local/data.sh: where the corpora lie. The environment may set them too.
# Translations, from github.com/facebookresearch/covost: a folder with covost_v2.en_de.tsv, unpacked.
COVOST2=${COVOST2:-}
# Common Voice, as unpacked: en/validated.tsv and en/clips/*.mp3. CoVoST 2 was made from
# cv-corpus-4-2019-12-10; clips that another release lacks are counted as dropped.
COMMONVOICE=${COMMONVOICE:-}
