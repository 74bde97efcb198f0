#!/usr/bin/env bash
# Proves on a GPU what the CPU-only tests cannot, and measures, in one call that ends within LIMIT seconds
# (540 by default): builds in place with this machine's own
# Python, torch and nvcc (nothing is downloaded: cmake, ninja, pybind11 and pytest must be there), runs
# every test marked gpu, compute-sanitizer on those marked sanitizer, and then, with the GPU to itself,
# rows() of the benchmarks in the order of their worth. Whatever fails or is cut short, a report of the
# rest is written: <gpu>-<date>.json and .md in $OUT (default benchmarks/results); the exit status is then 1.
# Usage: [OUT=folder] [PYTHON=python3] [LIMIT=540] [COMMIT=hash, in a copy without git] tools/gpu_check.sh
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} out=${OUT:-benchmarks/results} limit=${LIMIT:-540}
# What a whole training takes comes first, then its steps, then single ops.
order=(job step stage1 sublayer called attention ntxent bandpass)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$PWD
checks=() rows=() failed=0
# limited <seconds> <command...>: no longer than that, nor than leaves 30 s for the report
limited() {
  local left=$((limit - 30 - SECONDS)) most=$1
  shift
  [ "$left" -ge 1 ] || { echo "no time is left for: $*"; return 124; }
  timeout --kill-after=5 $((left < most ? left : most)) "$@"
}
step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
# outcome <name> <exit status>
outcome() {
  case $2 in
    0) checks+=(--check "$1=passed") ;;
    124 | 137) checks+=(--check "$1=failed: ran out of time") failed=1 ;;
    *) checks+=(--check "$1=failed") failed=1 ;;
  esac
}
skip() { echo "skipped: $2"; checks+=(--check "$1=skipped: $2"); }

build() {
  limited 60 cmake -S . -B "$work/build" -G Ninja -DCLMER_CUDA=ON -DPython_EXECUTABLE="$(command -v "$python")" \
    "-DCMAKE_CUDA_ARCHITECTURES=$capability-real" -DCLMER_OUTPUT="$PWD/clmer" >"$work/log" 2>&1 &&
    limited 150 cmake --build "$work/build" >>"$work/log" 2>&1 &&
    "$python" -c "import clmer; print(clmer.__file__, clmer.build_info())"
}

# Tests and sanitizers share the GPU, which changes no result; nothing is measured until all have ended.
run_tests() {
  local workers=() tool check pytest
  # Only the files that have such tests: the others may want packages that this machine lacks.
  mapfile -t pytest < <(grep -rlE 'mark\.(gpu|sanitizer)' tests --include='test_*.py')
  pytest=(-m pytest -q -p no:cacheprovider "${pytest[@]}")
  "$python" -c 'import xdist' 2>/dev/null && workers=(-n 8)
  declare -A running
  limited 170 "$python" "${pytest[@]}" -m gpu "${workers[@]}" >"$work/tests" 2>&1 &
  running["tests marked gpu"]=$!
  for tool in memcheck racecheck; do
    command -v compute-sanitizer >/dev/null || { skip "$tool" "compute-sanitizer is not on PATH"; continue; }
    # Without torch's cache every tensor is an allocation of its own, and memcheck sees its ends.
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 limited 170 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      --target-processes all "$python" "${pytest[@]}" -m sanitizer >"$work/$tool" 2>&1 &
    running[$tool]=$!
  done
  for check in "tests marked gpu" memcheck racecheck; do
    [ -n "${running[$check]:-}" ] || continue
    wait "${running[$check]}"
    outcome "$check" $?
  done
  for check in tests memcheck racecheck; do
    [ -e "$work/$check" ] && { echo "-- $check"; tail -n 40 "$work/$check"; }
  done
}

# measure <benchmark>: the rows that it reached count, also where it did not come to its end
measure() {
  step "$1"
  limited 75 "$python" tools/gpu_report.py rows "benchmarks/$1.py" "$work/$1.json"
  outcome "$1" $?
  [ -e "$work/$1.json" ] && rows+=(--rows "$work/$1.json")
}

capability=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())') ||
  { echo "found no CUDA device that torch can use: nothing was checked, nothing measured"; exit 1; }

step "build for architecture $capability"
build
status=$?
outcome build $status
if [ $status -eq 0 ]; then
  step "tests marked gpu; compute-sanitizer on those marked sanitizer"
  run_tests
  for name in "${order[@]}"; do measure "bench_${name}_gpu"; done
else
  tail -n 40 "$work/log"
fi

step "report"
timeout 30 "$python" tools/gpu_report.py write "$out" "${checks[@]}" "${rows[@]}" || failed=1
exit $failed
