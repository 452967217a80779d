#!/bin/bash
# TGIS as it is served today: vllm-tgis-adapter 0.10.0 on vLLM 0.12.0 with the tiny model. One
# process answers fmaas.GenerationService on 127.0.0.1:18133 (GRPC_PORT) and vLLM's own HTTP
# server, the OpenAI API, on 127.0.0.1:18100 (HTTP_PORT).
. "$(dirname "$0")/common.sh"
engine
# Without its dependencies: they ask for another build of vLLM than the one for CPUs.
addition vllm tgis --no-deps vllm-tgis-adapter==0.10.0
exec "$ENVS/vllm/bin/python" -m vllm_tgis_adapter --model "$MODELS/tiny-llama" "${TINY[@]}" \
    --grpc-port "$GRPC_PORT" "$@"
