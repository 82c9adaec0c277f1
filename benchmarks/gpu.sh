#!/usr/bin/env bash
# Tests, speed table and a short training on a machine with a CUDA GPU, in at most 9 minutes.
#
#     OUT=folder WHEELS=folder bash benchmarks/gpu.sh
#
# Needs Python 3.11 or newer with torch; wheels of what is missing there are taken from WHEELS, no network is used. OUT
# (default: runs/gpu) gets at most 8 files: the log, the speed table, the entries of the training and its last grids.
# Each stage has its own time limit; one that fails does not keep the next from running, but the exit status tells.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-runs/gpu} WHEELS=${WHEELS:-.whl} PYTHON=${PYTHON:-python3}
work=$(mktemp -d) failed=0
mkdir -p "$OUT"
exec > >(tee "$OUT/gpu.log") 2>&1
tee=$!
trap 'rm -rf "$work"; exec >&- 2>&-; wait "$tee"' EXIT

stage() { # name, seconds, command ...
  local name=$1 seconds=$2 began=$SECONDS status=0
  shift 2
  echo "== $name (at most $seconds s)"
  timeout --preserve-status --kill-after=20 "$seconds" "$@" || status=$?
  echo "== $name: status $status after $((SECONDS - began)) s"
  return "$status"
}

if ls "$WHEELS"/*.whl >/dev/null 2>&1; then
  timeout 40 "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" "$WHEELS"/*.whl || exit 1
  export PYTHONPATH=$work/site
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
"$PYTHON" -c "import torch; print(torch.__version__, torch.cuda.get_device_name())" || exit 1

tests=("$PYTHON" -m pytest -v -p no:cacheprovider -m gpu tests/gpu)
stage tests 60 "${tests[@]}" -k "not compiled" || failed=1
stage "speed, batch 1" 90 "$PYTHON" benchmarks/speed.py --device cuda --json "$OUT/speed_batch1.json" || failed=1
stage "speed, batch 4" 30 "$PYTHON" benchmarks/speed.py --device cuda --rounds 3 --only train --json "$OUT/speed_batch4.json" \
  train.batch_size=4 || failed=1

stage drawing 20 "$PYTHON" -m cyclestyle.data.synthetic "$work/drawn" --count 30 --test-count 4 --size 286 || failed=1
# The signal that ends it makes it save; 143 says that it did.
stage training 240 "$PYTHON" train.py --config configs/ink2photo.yaml --run-dir "$work/run" --device cuda \
  data.root="$work/drawn" train.max_steps=1000000
[ $? -eq 143 ] && [ -e "$work/run/checkpoints/latest.pt" ] || failed=1
cp "$work/run/metrics.jsonl" "$OUT/" || failed=1
stage "tests of compiling" 60 "${tests[@]}" -k compiled || failed=1
for grid in $(ls -t "$work"/run/samples/* 2>/dev/null | head -n 4); do cp "$grid" "$OUT/"; done
exit "$failed"
