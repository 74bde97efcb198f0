#!/usr/bin/env bash
# Proves on a GPU what the CPU-only tests cannot, and measures: builds in place with this machine's own
# Python, torch and nvcc (nothing is downloaded: cmake, ninja, pybind11 and pytest must be there), runs
# every test marked gpu, compute-sanitizer on those marked sanitizer, and rows() of every
# benchmarks/bench_*_gpu.py. Writes <gpu>-<date>.json and .md into $OUT (default benchmarks/results),
# also where a check fails; the exit status is then 1. It ends within 8 minutes.
# Usage: [OUT=folder] [PYTHON=python3] [COMMIT=hash, in a copy without git] tools/gpu_check.sh
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=${OUT:-benchmarks/results}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$PWD
checks=() failed=0
# Only the files that have such tests: the others may want packages that this machine lacks.
mapfile -t tests < <(grep -rlE 'mark\.(gpu|sanitizer)' tests --include='test_*.py')
# limited <seconds> <command...>: no longer than that, nor than leaves 30 s for the report
limited() {
  local left=$((440 - SECONDS)) most=$1
  shift
  [ "$left" -ge 1 ] || { echo "no time is left for: $*"; return 124; }
  timeout $((left < most ? left : most)) "$@"
}
step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
# outcome <name> <exit status>
outcome() {
  if [ "$2" -eq 0 ]; then checks+=(--check "$1=passed"); else checks+=(--check "$1=failed"); failed=1; fi
}
skip() { echo "skipped: $2"; checks+=(--check "$1=skipped: $2"); }

capability=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())') ||
  { echo "found no CUDA device that torch can use: nothing was checked, nothing measured"; exit 1; }

step "build for architecture $capability"
limited 90 cmake -S . -B "$work/build" -G Ninja -DCLMER_CUDA=ON -DPython_EXECUTABLE="$(command -v "$python")" \
  "-DCMAKE_CUDA_ARCHITECTURES=$capability-real" -DCLMER_OUTPUT="$PWD/clmer" >"$work/log" 2>&1 &&
  limited 90 cmake --build "$work/build" >>"$work/log" 2>&1 ||
  { tail -n 40 "$work/log"; echo "the build failed: nothing was checked, nothing measured"; exit 1; }
"$python" -c "import clmer; print(clmer.__file__, clmer.build_info())" || exit 1

step "tests marked gpu; compute-sanitizer on those marked sanitizer"
workers=()
"$python" -c 'import xdist' 2>/dev/null && workers=(-n 8)
pytest=(-m pytest -q -p no:cacheprovider "${tests[@]}")
declare -A running
limited 130 "$python" "${pytest[@]}" -m gpu "${workers[@]}" >"$work/tests" 2>&1 &
running["tests marked gpu"]=$!
for tool in memcheck racecheck; do
  command -v compute-sanitizer >/dev/null || { skip "$tool" "compute-sanitizer is not on PATH"; continue; }
  # Without torch's cache every tensor is an allocation of its own, and memcheck sees its ends.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 limited 110 compute-sanitizer --tool "$tool" --error-exitcode 9 \
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

mkdir -p "$out"
rows=()
for benchmark in benchmarks/bench_*_gpu.py; do
  [ -e "$benchmark" ] || continue
  name=$(basename "$benchmark" .py)
  step "$name"
  limited 90 "$python" tools/gpu_report.py rows "$benchmark" "$out/$name.json"
  status=$?
  outcome "$name" $status
  [ $status -eq 0 ] && rows+=(--rows "$out/$name.json")
done

step "report"
# The benchmarks' own files go once the report holds them.
timeout 30 "$python" tools/gpu_report.py write "$out" "${checks[@]}" "${rows[@]}" &&
  rm -f "$out"/bench_*_gpu.json || failed=1
exit $failed
