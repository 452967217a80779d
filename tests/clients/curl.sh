#!/bin/bash
# curl as a client: the calls of the documents, as people paste them, oddities included.
#
#   curl.sh --url URL --model MODEL [--token TOKEN] [--ca FILE] [--embedding-model MODEL] [--direct]
#
# The last line is `N passed, N failed`.
set -u

URL= MODEL= TOKEN= CA= EMBEDDING= DIRECT=
while [ $# -gt 0 ]; do
    case $1 in
        --url) URL=${2%/}; shift 2 ;;
        --model) MODEL=$2; shift 2 ;;
        --token) TOKEN=$2; shift 2 ;;
        --ca) CA=$2; shift 2 ;;
        --embedding-model) EMBEDDING=$2; shift 2 ;;
        --grpc) shift 2 ;; # the scripts beside it take that
        --direct) DIRECT=1; shift ;;
        *) echo "curl.sh: what is $1?" >&2; exit 2 ;;
    esac
done
[ -n "$URL" ] && [ -n "$MODEL" ] || { sed -n '2,6p' "$0" >&2; exit 2; }

TEMP=$(mktemp -d)
trap 'rm -rf "$TEMP"' EXIT
BODY=$TEMP/body HEAD=$TEMP/head
COMMON=(--silent --show-error --noproxy '*' --max-time 120 --dump-header "$HEAD" --output "$BODY"
    --write-out '%{http_code}')
[ -z "$CA" ] || COMMON+=(--cacert "$CA")
BEARER=()
[ -z "$TOKEN" ] || BEARER=(-H "Authorization: Bearer $TOKEN")

PASSED=0 FAILED=0 NAME=

# claim NAME: what the next lines show.
claim() { NAME=$1; }
pass() { PASSED=$((PASSED + 1)); echo "ok      $NAME${1:+ ($1)}"; }
fail() {
    FAILED=$((FAILED + 1))
    echo "FAILED  $NAME: $1"
    head -c 600 "$BODY" 2>/dev/null | sed 's/^/        | /'
    echo
}

# call STATUS PATTERN ARGUMENTS...: passes when the status is this and the body holds the pattern
# (an extended regular expression, the body taken as one line).
call() {
    local wanted=$1 pattern=$2 status problem
    shift 2
    : >"$BODY"
    status=$(curl "${COMMON[@]}" "$@" 2>"$TEMP/problem")
    problem=$(<"$TEMP/problem")
    if [ "$status" != "$wanted" ]; then
        fail "status $status, not $wanted ${problem:+($problem)}"
    elif ! { tr '\r\n' '  ' <"$BODY"; echo; } | grep -Eq -- "$pattern"; then
        fail "no $pattern in the body"
    else
        pass
    fi
}

asked() { call "$1" "$2" "${BEARER[@]}" "${@:3}"; }
header() { grep -Eiq -- "^$1: *$2" "$HEAD"; }

JSON=(-H 'Content-Type: application/json')
COMPLETION='{"model": "'$MODEL'", "prompt": "The ferry", "max_tokens": 7, "temperature": 0}'
CHAT='{"model": "'$MODEL'", "messages": [{"role": "user", "content": "What is a toll?"}], "max_tokens": 7, "temperature": 0}'
# As the documents write it: no model.
UNNAMED='{"messages": [{"role": "user", "content": "What is a toll?"}], "max_tokens": 7}'

claim 'models are listed'
asked 200 '"id": ?"'"$MODEL"'".*"object": ?"list"|"object": ?"list".*"id": ?"'"$MODEL"'"' "$URL/v1/models"
claim 'the version is told'
asked 200 '"version": ?"' "$URL/version"
claim 'there is a page of documents'
asked 200 '<html' "$URL/docs"
claim 'healthy'
asked 200 '^ *$|healthy|ok' "$URL/health"

claim 'a completion'
asked 200 '"object": ?"text_completion".*"usage"' "${JSON[@]}" -d "$COMPLETION" "$URL/v1/completions"
claim 'the answer says that it is JSON'
if header content-type application/json; then pass; else fail "$(tr '\r\n' '  ' <"$HEAD")"; fi
claim 'a chat'
asked 200 '"role": ?"assistant"' "${JSON[@]}" -d "$CHAT" "$URL/v1/chat/completions"
claim 'a chat that names no model'
asked 200 '"model": ?"'"$MODEL"'"' "${JSON[@]}" -d "$UNNAMED" "$URL/v1/chat/completions"
claim 'curl --json'
asked 200 '"object": ?"chat.completion"' --json "$CHAT" "$URL/v1/chat/completions"
claim 'a media type with a parameter'
asked 200 '"text_completion"' -H 'Content-Type: application/json; charset=utf-8' -d "$COMPLETION" "$URL/v1/completions"
claim 'a media type in capitals'
asked 200 '"text_completion"' -H 'Content-Type: Application/JSON' -d "$COMPLETION" "$URL/v1/completions"
claim 'the media type of forms is refused'
asked 400 '"message"' -d "$COMPLETION" "$URL/v1/completions"
claim 'no media type is refused'
asked 400 '"message"' -H 'Content-Type:' -d "$COMPLETION" "$URL/v1/completions"

STREAM=${CHAT%\}}', "stream": true}'
claim 'a stream'
asked 200 '^data: \{.*"delta".*data: \[DONE\] *$' -N "${JSON[@]}" -d "$STREAM" "$URL/v1/chat/completions"
claim 'the stream says what it is'
if header content-type text/event-stream; then pass; else fail "$(tr '\r\n' '  ' <"$HEAD")"; fi
claim 'a stream by --json, which accepts only JSON'
asked 200 '^data: \{.*data: \[DONE\] *$' -N --json "$STREAM" "$URL/v1/chat/completions"
claim 'a stream of a completion'
asked 200 '^data: \{.*"text_completion".*data: \[DONE\] *$' -N "${JSON[@]}" -d "${COMPLETION%\}}"', "stream": true}' "$URL/v1/completions"
claim 'a stream with usage'
asked 200 '"choices": ?\[\],.*"usage": ?\{.*data: \[DONE\] *$' -N "${JSON[@]}" -d "${STREAM%\}}"', "stream_options": {"include_usage": true}}' "$URL/v1/chat/completions"

claim 'HTTP/1.0'
asked 200 '"text_completion"' --http1.0 --no-alpn "${JSON[@]}" -d "$COMPLETION" "$URL/v1/completions"
claim 'HTTP/1.1'
asked 200 '"text_completion"' --http1.1 "${JSON[@]}" -d "$COMPLETION" "$URL/v1/completions"
claim 'a body in chunks'
asked 200 '"text_completion"' --http1.1 -H 'Transfer-Encoding: chunked' "${JSON[@]}" -d "$COMPLETION" "$URL/v1/completions"
claim 'a client that waits to be told to go on'
asked 200 '"text_completion"' --http1.1 -H 'Expect: 100-continue' "${JSON[@]}" -d "$COMPLETION" "$URL/v1/completions"
claim 'a client that would take compressed answers'
asked 200 '"text_completion"' --compressed "${JSON[@]}" -d "$COMPLETION" "$URL/v1/completions"
if [ -z "$DIRECT" ]; then
    claim 'HTTP/2'
    case $URL in
        https:*) asked 200 '"text_completion"' --http2 "${JSON[@]}" -d "$COMPLETION" "$URL/v1/completions" ;;
        *) asked 200 '"text_completion"' --http2-prior-knowledge "${JSON[@]}" -d "$COMPLETION" "$URL/v1/completions" ;;
    esac
    claim 'a stream over HTTP/2'
    case $URL in
        https:*) asked 200 'data: \[DONE\] *$' --http2 -N "${JSON[@]}" -d "$STREAM" "$URL/v1/chat/completions" ;;
        *) asked 200 'data: \[DONE\] *$' --http2-prior-knowledge -N "${JSON[@]}" -d "$STREAM" "$URL/v1/chat/completions" ;;
    esac
fi

claim 'text becomes tokens'
asked 200 '"count": ?[0-9]+.*"tokens": ?\[[0-9]' "${JSON[@]}" -d '{"model": "'"$MODEL"'", "prompt": "A gate on the bridge."}' "$URL/tokenize"
TOKENS=$(grep -Eo '"tokens": ?\[[0-9, ]*\]' "$BODY" | grep -Eo '\[[0-9, ]*\]')
claim 'and tokens become that text'
asked 200 '"prompt": ?".*A gate on the bridge\."' "${JSON[@]}" -d '{"model": "'"$MODEL"'", "tokens": '"${TOKENS:-[]}"'}' "$URL/detokenize"
if [ -n "$EMBEDDING" ]; then
    claim 'an embedding'
    asked 200 '"embedding": ?\[-?[0-9]' "${JSON[@]}" -d '{"model": "'"$EMBEDDING"'", "input": "A gate"}' "$URL/v1/embeddings"
    claim 'an embedding in base64'
    asked 200 '"embedding": ?"[A-Za-z0-9+/=]{8,}"' "${JSON[@]}" -d '{"model": "'"$EMBEDDING"'", "input": "A gate", "encoding_format": "base64"}' "$URL/v1/embeddings"
fi

claim 'an unknown model'
asked 404 '"message": ?"[^"]*no-such-model' "${JSON[@]}" -d '{"model": "no-such-model", "prompt": "x"}' "$URL/v1/completions"
claim 'not JSON'
asked 400 '"message"' "${JSON[@]}" -d '{' "$URL/v1/completions"
claim 'no body'
asked 400 '"message"' "${JSON[@]}" -X POST "$URL/v1/completions"
claim 'a value of the wrong type'
asked 400 'max_tokens' "${JSON[@]}" -d '{"model": "'"$MODEL"'", "prompt": "x", "max_tokens": "many"}' "$URL/v1/completions"
claim 'an unknown path'
asked 404 '.' "$URL/v1/nothing"
claim 'a method that is not there'
asked 405 '.' -X DELETE "$URL/v1/completions"

if [ -z "$DIRECT" ]; then
    claim 'one model by its name'
    asked 200 '"id": ?"'"$MODEL"'"' "$URL/v1/models/$MODEL"
    claim 'a model that stands twice is refused'
    asked 400 'model' "${JSON[@]}" -d '{"model": "'"$MODEL"'", "prompt": "x", "model": "other"}' "$URL/v1/completions"
    claim 'and so it is when one is written with an escape'
    asked 400 'model' "${JSON[@]}" -d '{"model": "'"$MODEL"'", "prompt": "x", "mod\u0065l": "other"}' "$URL/v1/completions"
fi
if [ -n "$TOKEN" ]; then
    for path in /v1/models /tokenize /version /docs; do
        claim "no token, no $path"
        method=(-X GET)
        [ $path != /tokenize ] || method=("${JSON[@]}" -d '{"prompt": "x"}')
        call 401 'Unauthorized' "${method[@]}" "$URL$path"
    done
    claim 'a wrong token'
    call 401 'Unauthorized' -H "Authorization: Bearer ${TOKEN}x" "$URL/v1/models"
    claim 'a scheme in small letters'
    call 200 '"list"' -H "Authorization: bearer $TOKEN" "$URL/v1/models"
    claim 'a token under another scheme'
    call 401 'Unauthorized' -H "Authorization: Basic $TOKEN" "$URL/v1/models"
fi
if [ -n "$CA" ]; then
    claim 'an unknown authority'
    status=$(curl --silent --noproxy '*' --max-time 20 "$URL/v1/models" 2>&1)
    if [ $? -eq 60 ]; then pass; else fail "curl took it: $status"; fi
fi

echo "$PASSED passed, $FAILED failed"
[ "$FAILED" -eq 0 ] && [ "$PASSED" -gt 0 ]
