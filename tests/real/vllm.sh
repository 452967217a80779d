#!/bin/bash
# vLLM 0.12.0 on the CPU with the tiny model: the OpenAI API on 127.0.0.1:18100 (HTTP_PORT).
. "$(dirname "$0")/common.sh"
engine
exec "$ENVS/vllm/bin/vllm" serve "$MODELS/tiny-llama" "${TINY[@]}" "$@"
