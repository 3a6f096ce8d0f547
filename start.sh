#!/usr/bin/env bash
# Builds the image and starts the service in a container, on port 8091:
#
#   ./start.sh           on the GPU where there is one, otherwise on the CPU
#   ./start.sh --cpu     on the CPU
#   ./start.sh --stop    ends it; what it downloaded stays in the volume `siglip2`
#
# MODEL_NAME, API_PORT, API_KEY and HF_TOKEN are taken from the environment.
set -euo pipefail
cd "$(dirname "$0")"

name=siglip2-embeddings
port=${API_PORT:-8091}
kind=
for argument in "$@"; do
  case $argument in
    --cpu) kind=cpu ;;
    --stop)
      # Accepted requests are answered first (--drain-timeout).
      docker stop --time 40 "$name" >/dev/null
      docker rm "$name" >/dev/null
      echo "$name has ended"
      exit 0
      ;;
    -h | --help)
      sed -n '2,/^set/{s/^# \{0,1\}//;/^set/!p}' "$0"
      exit 0
      ;;
    *)
      echo "start.sh: no option $argument; there are --cpu and --stop" >&2
      exit 2
      ;;
  esac
done
command -v docker >/dev/null || {
  echo 'start.sh needs Docker; README.md says how to build and start the service without it' >&2
  exit 1
}
if [ -z "$kind" ]; then
  kind=cpu
  if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then kind=gpu; fi
fi

if [ "$kind" = gpu ]; then
  docker build -t siglip2-embeddings:gpu .
  device=(--gpus all)
else
  docker build -f Dockerfile.cpu -t siglip2-embeddings:cpu .
  device=(--read-only)
fi
docker rm --force "$name" >/dev/null 2>&1 || true
docker run --detach --name "$name" --restart unless-stopped "${device[@]}" \
  --cap-drop ALL --security-opt no-new-privileges -p "$port:8091" -v siglip2:/data \
  -e MODEL_NAME -e API_KEY -e HF_TOKEN -e TMPDIR=/data "siglip2-embeddings:$kind" >/dev/null

printf 'starting; the first start downloads the model'
[ "$kind" = cpu ] || printf ' and builds its engine'
while :; do
  state=$(docker inspect --format '{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' "$name")
  case $state in
    'running healthy') break ;;
    running*) ;;
    *)
      printf '\n'
      docker logs --tail 20 "$name" >&2
      echo "start.sh: $name is $state" >&2
      exit 1
      ;;
  esac
  printf .
  sleep 2
done
printf '\nready at http://localhost:%s (%s)\n' "$port" "$kind"
