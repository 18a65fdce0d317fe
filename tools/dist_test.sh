#!/usr/bin/env bash
# Test with several processes on this machine: one per GPU, or gloo processes without GPUs.
# Usage: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
# NNODES, NODE_RANK, MASTER_ADDR and PORT are read from the environment, as in MMDetection.
set -euo pipefail
if [ $# -lt 3 ]; then sed -n '2,4s/^# //p' "$0"; exit 2; fi
config=$1; checkpoint=$2; processes=$3; shift 3
here=$(dirname "$0")
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$here/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
