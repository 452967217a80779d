#!/bin/bash
# NVIDIA Triton 2.51.0 (413 MB), the server of the wheel nvidia-pytriton, with its Python backend on
# a CPU: HTTP on 127.0.0.1:18160, gRPC on 127.0.0.1:18161, metrics on
# 127.0.0.1:18162 (all three by TRITON_…). The models are those of triton_models: `addsub`
# (sum and difference, merged into batches), `echo` (each input as an output), `stream` (a word an
# answer), `teller` (a text, by the tensors of the vLLM backend), `vectors` and `writer` (vectors of
# texts, and a text at once), `broken` (which fails); or those that TRITON_MODELS names: `matrix` (a
# product whose batches pay), `matrix_own` (the same, with the server's own batcher on), `chain` (whose
# batches do not pay).
. "$(dirname "$0")/common.sh"
HTTP_PORT=${TRITON_HTTP_PORT:-18160}
GRPC_PORT=${TRITON_GRPC_PORT:-18161}
METRICS_PORT=${TRITON_METRICS_PORT:-18162}
environment triton 'nvidia-pytriton==0.7.0' 'tritonclient[all]==2.73.0'

python=$ENVS/triton/bin/python
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
server=$site/pytriton/tritonserver
work=$TOLLGATE_REAL/${TRITON_WORK:-triton-server}
mkdir -p "$work/backends"
# A backend finds its stub beside itself, and the one that fits this Python lies elsewhere.
rm -rf "$work/backends/python"
cp -r "$server/backends/python" "$work/backends/"
ln -sf "$server/python_backend_stubs/$version/triton_python_backend_stub" "$work/backends/python/"
rm -rf "$work/models"
for model in ${TRITON_MODELS:-addsub echo stream teller vectors writer broken}; do
    mkdir -p "$work/models/$model/1"
    cp "$HERE/triton_models/$model.pbtxt" "$work/models/$model/config.pbtxt"
    cp "$HERE/triton_models/${model%_own}.py" "$work/models/$model/1/model.py"
done

# The stub wants the libpython of this very interpreter, and finds numpy by the environment.
LD_LIBRARY_PATH=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')
export LD_LIBRARY_PATH PATH=$ENVS/triton/bin:$PATH PYTHONPATH=$site VIRTUAL_ENV=$ENVS/triton
exec "$server/bin/tritonserver" --model-repository="$work/models" \
    --backend-directory="$work/backends" --cache-directory="$server/caches" \
    --http-address 127.0.0.1 --http-port "$HTTP_PORT" \
    --grpc-address 127.0.0.1 --grpc-port "$GRPC_PORT" \
    --metrics-address 127.0.0.1 --metrics-port "$METRICS_PORT" \
    --model-control-mode=explicit --load-model='*'
