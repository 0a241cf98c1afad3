#!/usr/bin/env bash
# Three replicas that are one server: a redis-server, a simulated WhatsApp whose phones scan by themselves, and a page on
# each replica. Ctrl-C ends it all and leaves nothing behind.
#
# examples/cluster.sh
# PORT, REDIS_PORT and SIMULATOR_PORT say where to look for free ports from (3000, 6390, 8090), REDIS_SERVER names another
# program than redis-server, such as valkey-server, LEASE_TTL_MS says how soon a dead replica is followed (5000).
set -euo pipefail
cd "$(dirname "$0")/.."

replicas=3
scan_seconds=8
redis_server=${REDIS_SERVER:-redis-server}
lease=${LEASE_TTL_MS:-5000}

for program in cargo curl "$redis_server"; do
  if ! command -v "$program" >/dev/null; then
    echo "$program is needed, and missing" >&2
    exit 1
  fi
done

folder=$(mktemp -d)
pids=()
# Each process by its id, and only those of this script.
clean_up() {
  trap - EXIT INT TERM
  for pid in ${pids[@]+"${pids[@]}"}; do kill "$pid" 2>/dev/null || true; done
  for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 0' INT TERM

# The next port, from $1 on, that nobody listens on.
free_port() {
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}

# Starts a program in the background, its words in a file: start NAME COMMAND...
start() {
  local name=$1
  shift
  "$@" >"$folder/$name.log" 2>&1 &
  pids+=("$!")
}

# Waits for an answer: await NAME PID URL
await() {
  for _ in $(seq 300); do
    if curl -fsS -m 2 -o /dev/null "$3" 2>/dev/null; then return; fi
    kill -0 "$2" 2>/dev/null || break
    sleep 0.2
  done
  echo "$1 does not answer at $3; its last words:" >&2
  tail -n 20 "$folder/$1.log" >&2
  exit 1
}

# One field of a flat JSON answer.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

echo "building"
cargo build --quiet --workspace --bins --features qrcast/simulator
bin=${CARGO_TARGET_DIR:-target}/debug

redis_port=$(free_port "${REDIS_PORT:-6390}")
mkdir "$folder/redis"
start redis "$redis_server" --bind 127.0.0.1 --port "$redis_port" --dir "$folder/redis" \
  --save '' --appendonly yes --maxmemory-policy noeviction

whatsapp_port=$(free_port "${SIMULATOR_PORT:-8090}")
whatsapp=http://127.0.0.1:$whatsapp_port
start whatsapp "$bin/simulator" --listen "127.0.0.1:$whatsapp_port"
await whatsapp "${pids[1]}" "$whatsapp/control/state"

bases=()
port=${PORT:-3000}
for n in $(seq "$replicas"); do
  port=$(free_port "$port")
  # Nothing of the caller's own server may change this one.
  start "replica-$n" env -u PUBLIC_URL -u API_KEYS -u REDIS_FALLBACK -u REDIS_PREFIX -u WHATSAPP_TIME_FACTOR \
    HOST=127.0.0.1 PORT="$port" DATA_DIR="$folder/replica-$n" LEASE_TTL_MS="$lease" \
    READY_DELAY_MS=1000 DRAIN_SECONDS=2 \
    REDIS_URL="redis://127.0.0.1:$redis_port" WHATSAPP_URL="ws://127.0.0.1:$whatsapp_port/ws/chat" "$bin/qrcast"
  bases+=("http://127.0.0.1:$port")
  port=$((port + 1))
done
for n in $(seq "$replicas"); do await "replica-$n" "${pids[n + 1]}" "${bases[n - 1]}/readyz"; done

session=$(curl -fsS "${bases[0]}/api/init-session" -H 'Content-Type: application/json' -d '{"userId":"demo"}' |
  field sessionId)

echo
echo "three replicas, one server:"
for n in $(seq "$replicas"); do
  echo "  replica $n   ${bases[n - 1]}/   process ${pids[n + 1]}, log $folder/replica-$n.log"
done
cat <<END

try:
- a session, made on replica 1, seen on all of them, the same QR at the same moment:
END
for base in "${bases[@]}"; do echo "    $base/?session=$session"; done
cat <<END
- a session of your own: make it on one page, open its link on another
- a phone scans each QR after some $scan_seconds seconds; with linked sessions, end a replica:
    kill -9 ${pids[2]}   its sessions are connected elsewhere within some $(((lease + 999) / 1000 + 3)) seconds, without a scan
    kill ${pids[3]}      its sessions are handed over at once
  the pages of the others stay as they are; curl BASE/api/sessions says who is the owner of what
- Ctrl-C ends it all
END
echo

# Asks the first replica that answers.
ask() {
  local base
  for base in "${bases[@]}"; do
    if curl -fsS -m 5 "$base$1" 2>/dev/null; then return; fi
  done
  return 1
}

# Plays the phone of everyone who has been shown a QR for a while.
waiting=
while :; do
  # In the background, so that a signal need not wait for it.
  sleep "$scan_seconds" >/dev/null 2>&1 &
  wait "$!" || true
  alive=
  for n in $(seq "$replicas"); do
    if kill -0 "${pids[n + 1]}" 2>/dev/null; then alive=yes; fi
  done
  if [ -z "$alive" ]; then
    echo "no replica is left"
    exit 0
  fi
  now=$(ask '/api/sessions?status=scan_qr&limit=200' | grep -o '"sessionId":"[^"]*"' | cut -d '"' -f 4 || true)
  for id in $now; do
    case " $waiting " in
      *" $id "*) ;;
      # It came a moment ago: let people look at it.
      *) continue ;;
    esac
    # Between two QRs, or linked meanwhile: next time.
    qr=$(ask "/api/qr-code/${id//+/%2B}" | field qrString || true)
    if [ -z "$qr" ]; then continue; fi
    jid=$(curl -fsS -m 20 "$whatsapp/control/scan" -H 'Content-Type: application/json' \
      -d "{\"qr\":\"$qr\",\"pushName\":\"Ada Lovelace\"}" 2>/dev/null | field jid || true)
    if [ -n "$jid" ]; then echo "linked $id as $jid"; fi
  done
  # One line, so that the next round finds each by its name.
  waiting=$(echo $now)
done
