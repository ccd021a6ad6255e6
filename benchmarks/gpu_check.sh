#!/bin/bash
# Everything that wants a GPU, in one command and under nine minutes, on a machine with the plain scientific Python
# stack: no workflow engine, no network.
#
#   benchmarks/gpu_check.sh [--dry-run] OUT [STATE]
#
# Builds the package into a folder, runs the GPU tests, compute-sanitizer and Nsight Compute where they run, the speed
# table, and with the time left the longest unfinished real run. A step that fails is reported and costs no later one.
# OUT gets summary.txt, logs.tar.gz, the speed table and real.tar.NN, the real runs' small state: give the folder that
# holds the latter as STATE to a later call, here or on another machine, and they go on.
#
# Environment: DATA (CIFAR-10's archive or folder, or an archive of JPEGs), BUDGET (seconds in all, 520), PYTHON
# (python3), WORK (build/gpu-check), STEPS (those to run), PIECES (of the real runs; all).
# --dry-run tries the script out on a machine without a GPU: backend cpu, tiny sizes.

set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

dry=false
if [ "${1-}" = --dry-run ]; then dry=true; shift; fi
out=${1:?usage: benchmarks/gpu_check.sh [--dry-run] OUT [STATE]}
state=${2-}
budget=${BUDGET:-520}
python=${PYTHON:-python3}
work=${WORK:-build/gpu-check}
steps=${STEPS:-build device tests sanitizer speed counters real}
backend=cuda
$dry && backend=cpu

if [ -d /usr/local/cuda/bin ]; then PATH=$PATH:/usr/local/cuda/bin; fi
mkdir -p "$out" "$work/logs" || exit 1
out=$(cd "$out" && pwd) && work=$(cd "$work" && pwd) || exit 1
export PYTHONPATH=$work/site PYTHONUNBUFFERED=1 CUPY_CACHE_DIR=$work/cupy
start=$SECONDS
rows=()

left() { echo $((budget - (SECONDS - start))); }

# step NAME LIMIT COMMAND…: run it within LIMIT seconds and what is left, keep its output, note how it ended.
step() {
    local name=$1 limit=$2 began=$SECONDS status
    shift 2
    case " $steps " in *" $name "*) ;; *) return ;; esac
    if [ "$limit" -gt "$(left)" ]; then limit=$(left); fi
    if [ "$limit" -le 0 ]; then
        rows+=("$(printf '%-10s %-22s %4s s' "$name" "no time left" 0)")
        return
    fi
    echo "== $name (at most $limit s)"
    timeout -k 5 "$limit" "$@" > "$work/logs/$name.log" 2>&1
    status=$?
    case $status in
        0) status=ok ;;
        77) status="not here" ;;
        124 | 137) status="FAILED: out of time" ;;
        *) status="FAILED: status $status" ;;
    esac
    tail -n 15 "$work/logs/$name.log"
    rows+=("$(printf '%-10s %-22s %4s s' "$name" "$status" $((SECONDS - began)))")
}

build() {
    local stamp
    stamp=$(find CMakeLists.txt pyproject.toml src -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 cat | sha256sum)
    if [ "$(cat "$work/built" 2> /dev/null)" = "$stamp" ]; then echo "built already"; return; fi
    rm -rf "$work/site" "$work/built"
    "$python" -m pip install -q --no-index --no-build-isolation --no-deps --target "$work/site" . || by_cmake || return
    echo "$stamp" > "$work/built"
}

# Where pip or the build backend is missing: the same library, put beside the sources in a copy of the package.
by_cmake() {
    echo "pip could not build the package; with cmake instead"
    cmake -S . -B "$work/cmake" -DCMAKE_BUILD_TYPE=Release && cmake --build "$work/cmake" -j || return
    mkdir -p "$work/site" && cp -r src/exact_cntk "$work/site/" && rm -rf "$work/site/exact_cntk/kernels/core" || return
    cp "$(find "$work/cmake" -name '_exact_cntk_core.so' | head -n 1)" "$work/site/exact_cntk/kernels/" || return
    local version  # which the package asks its metadata for
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
    mkdir -p "$work/site/exact_cntk-$version.dist-info"
    printf 'Metadata-Version: 2.1\nName: exact-cntk\nVersion: %s\n' "$version" \
        > "$work/site/exact_cntk-$version.dist-info/METADATA"
}

device() {
    nvidia-smi || echo "nvidia-smi is not here"
    "$python" -m benchmarks.gpu_small --backend "$backend"
}

tests() {
    if $dry; then "$python" -m pytest -q -p no:cacheprovider tests/unit/benchmarks/test_real_plan.py; return; fi
    # Beside each other: those on the emulator take half of the cores, the others the GPU, whose memory is theirs alone.
    # The whole of compute-sanitizer takes too long here: the next step has a smaller problem.
    local status=0 emulator workers=()
    if "$python" -c 'import xdist'; then workers=(-n $((($(nproc) + 1) / 2))); fi
    "$python" -m pytest -v -p no:cacheprovider --continue-on-collection-errors "${workers[@]}" tests/unit/cuda > "$work/logs/emulator.log" 2>&1 &
    emulator=$!
    "$python" -m pytest -v -p no:cacheprovider --continue-on-collection-errors --durations 10 \
        --ignore tests/gpu/test_sanitizer.py tests/gpu || status=$?
    wait $emulator || status=$?
    tail -n 5 "$work/logs/emulator.log"
    return $status
}

sanitizer() {
    command -v compute-sanitizer > /dev/null || { echo "compute-sanitizer is not on the path"; return 77; }
    local tool failed=0
    for tool in memcheck racecheck initcheck synccheck; do
        echo "-- $tool"
        local options=(--tool $tool --error-exitcode 9 --print-limit 5)
        # What CUDA refuses its callers, CuPy for one, as where an attribute is unknown, is no fault of a kernel.
        if [ $tool = memcheck ]; then options+=(--report-api-errors no); fi
        # Four of them within the step's limit: the step's own end does not reach what `timeout` has started.
        timeout -k 2 20 compute-sanitizer "${options[@]}" "$python" -m benchmarks.gpu_small || failed=$?
    done
    return $failed
}

speed() {
    local options=(--seconds 5)
    if $dry; then options=(--backend cpu --seconds 0.01 --rate 1e9 --rival-size 4); fi
    "$python" -m benchmarks.gpu_speed "${options[@]}" --out "$out"
}

counters() {
    command -v ncu > /dev/null || { echo "ncu is not on the path"; return 77; }
    "$python" -m benchmarks.gpu_profile
}

real() {
    if [ -z "${DATA-}" ]; then echo "DATA names no images"; return 77; fi
    if [ ! -d "$work/real" ] && compgen -G "$state/real.tar.*" > /dev/null; then
        cat "$state"/real.tar.* | tar -C "$work" -x || return
    fi
    # shellcheck disable=SC2086  # PIECES is a list
    "$python" -m recording.real_runs --data "$DATA" --out "$work/real" --cache "$work/cache" --backend "$backend" \
        --budget "$1" ${PIECES:+--only $PIECES}
}

# Functions run in a shell of their own, so that `timeout` can end them.
export -f build by_cmake device tests sanitizer speed counters real
export out state work python backend dry
in_shell() { local name=$1; shift; step "$name" "$1" bash -c "$name \"\$@\"" "$name" "${@:2}"; }

in_shell build 120
in_shell device 60
in_shell tests 190
in_shell sanitizer 90
in_shell speed 150
in_shell counters 60
# Ten seconds for reading the images and for packing; the run stops by itself, the limit is for when it hangs.
in_shell real $(($(left) - 5)) $(($(left) - 15))

tar -C "$work" -czf "$out/logs.tar.gz" logs
if [ -d "$work/real" ]; then
    rm -f "$out"/real.tar.*
    tar -C "$work" -cf - real | split -b 15M -d - "$out/real.tar."
fi
{
    printf '%s\n' "${rows[@]}"
    echo "in all $((SECONDS - start)) s of $budget"
} | tee "$out/summary.txt"
! grep -q FAILED "$out/summary.txt"
