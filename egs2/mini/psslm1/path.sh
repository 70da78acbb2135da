# shellcheck shell=bash
# shellcheck source=egs2/TEMPLATE/psslm1/path.sh
. ../../TEMPLATE/psslm1/path.sh
