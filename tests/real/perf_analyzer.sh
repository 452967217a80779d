#!/bin/bash
# NVIDIA's load generator for servers of this protocol, of the wheel tritonclient 2.50.0, the last
# one that runs on glibc 2.36 (35 MB). Its arguments are handed on. It wants libb64, which is
# installed where it may be.
. "$(dirname "$0")/common.sh"
environment perf 'nvidia-cuda-runtime-cu12'
program=$TOLLGATE_REAL/perf_analyzer/perf_analyzer
if [ ! -x "$program" ]; then
    mkdir -p "$TOLLGATE_REAL/perf_analyzer"
    "$ENVS/perf/bin/pip" download --quiet --no-deps --dest "$TOLLGATE_REAL/perf_analyzer" tritonclient==2.50.0
    (cd "$TOLLGATE_REAL/perf_analyzer" && python3 -m zipfile --extract tritonclient-2.50.0-*.whl wheel)
    cp "$(find "$TOLLGATE_REAL/perf_analyzer/wheel" -name perf_analyzer -type f | head -1)" "$program"
    chmod +x "$program"
    rm -rf "$TOLLGATE_REAL/perf_analyzer/wheel"
fi
if ! ldconfig -p | grep -q libb64.so.0d; then apt-get install --yes --quiet libb64-0d >/dev/null; fi
LD_LIBRARY_PATH=$(dirname "$(find "$ENVS/perf" -name 'libcudart.so.12' | head -1)")
export LD_LIBRARY_PATH
exec "$program" "$@"
