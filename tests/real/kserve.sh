#!/bin/bash
# The Python server of KServe 0.20.0 (190 MB): HTTP on 127.0.0.1:18190, gRPC on 127.0.0.1:18191
# (KSERVE_HTTP_PORT, KSERVE_GRPC_PORT). The model `echo` gives back each input as an output.
. "$(dirname "$0")/common.sh"
HTTP_PORT=${KSERVE_HTTP_PORT:-18190}
GRPC_PORT=${KSERVE_GRPC_PORT:-18191}
environment kserve 'kserve==0.20.0'
exec "$ENVS/kserve/bin/python" "$HERE/kserve_echo.py" --http_port "$HTTP_PORT" --grpc_port "$GRPC_PORT"
