#!/bin/bash
# MLServer 1.7.1 (250 MB): HTTP on 127.0.0.1:18170, gRPC on 127.0.0.1:18171 (MLSERVER_HTTP_PORT,
# MLSERVER_GRPC_PORT). The model `echo` gives back each input as an output, `texts`
# makes vectors and capitals of texts.
. "$(dirname "$0")/common.sh"
HTTP_PORT=${MLSERVER_HTTP_PORT:-18170}
GRPC_PORT=${MLSERVER_GRPC_PORT:-18171}
environment mlserver 'mlserver==1.7.1'

work=$TOLLGATE_REAL/mlserver-models
rm -rf "$work"
mkdir -p "$work/echo" "$work/texts"
cat >"$work/settings.json" <<EOF
{ "host": "127.0.0.1", "http_port": $HTTP_PORT, "grpc_port": $GRPC_PORT, "metrics_port": 18172,
  "parallel_workers": 0 }
EOF
echo '{ "name": "echo", "implementation": "models.Echo" }' >"$work/echo/model-settings.json"
cp "$HERE/mlserver_echo.py" "$work/echo/models.py"
echo '{ "name": "texts", "implementation": "models_of_texts.Texts" }' >"$work/texts/model-settings.json"
cp "$HERE/mlserver_texts.py" "$work/texts/models_of_texts.py"
exec "$ENVS/mlserver/bin/mlserver" start "$work"
