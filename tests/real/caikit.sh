#!/bin/bash
# The caikit runtime 0.28.3 (210 MB) with the library beside this file, which has the signatures of
# caikit-nlp and computes something small: REST on 127.0.0.1:18180 (HTTP_PORT), gRPC on
# 127.0.0.1:18185 (GRPC_PORT). The models are called `generator` and `embedder`.
. "$(dirname "$0")/common.sh"
HTTP_PORT=${CAIKIT_HTTP_PORT:-18180}
GRPC_PORT=${CAIKIT_GRPC_PORT:-18185}
# Its own pins are ranges; numpy 2 breaks it.
environment caikit 'caikit[runtime-grpc,runtime-http]==0.28.3' 'numpy<2'

work=$TOLLGATE_REAL/caikit
mkdir -p "$work/models/generator" "$work/models/embedder"
describe() {
    printf 'module_id: %s\nmodule_class: caikit_nlp.%s\ncreated: "2026-01-01 00:00:00"\nname: %s\nversion: %s\n' \
        "$2" "$3" "$4" "$5" >"$work/models/$1/config.yml"
}
describe generator f9181353-4ccf-4572-bd1e-f12bcda26792 TextGeneration 'Text Generation' 0.1.0
describe embedder eeb12558-b4fa-4f34-a9fd-3f5890e9cd3f EmbeddingModule EmbeddingModule 0.0.1
cat >"$work/runtime.yml" <<EOF
runtime:
  library: caikit_nlp
  local_models_dir: $work/models
  lazy_load_local_models: true
  grpc:
    enabled: true
    port: $GRPC_PORT
    unix_socket_path: $work/grpc.sock
    server_shutdown_grace_period_seconds: 1
  http: { enabled: true, port: $HTTP_PORT, host: 127.0.0.1 }
  metrics: { enabled: false }
log: { level: info, formatter: pretty }
EOF
cd "$work"
CONFIG_FILES=$work/runtime.yml PYTHONPATH=$HERE PYTHONDONTWRITEBYTECODE=1 \
    exec "$ENVS/caikit/bin/python" -m caikit.runtime
