#!/bin/sh
# Links an account with curl alone, the way clients of the old service do: start a session, then ask how it stands, and
# fetch each new QR as a picture. A stream is cheaper for both sides; `curl -N BASE/api/sessions/ID/events` shows one.
#
# examples/poll.sh http://127.0.0.1:3000 USER_ID [FILE.png]
# Ends with 0 when the account is linked, with 1 when it will not be.
set -eu

base=${1:?usage: poll.sh BASE_URL USER_ID [FILE.png]}
user=${2:?usage: poll.sh BASE_URL USER_ID [FILE.png]}
file=${3:-qr.png}
every=${POLL_SECONDS:-2}

# A stream token or an API key goes into TOKEN where the server has keys.
ask() { curl -sS ${TOKEN:+-H "Authorization: Bearer $TOKEN"} "$@"; }

# One field of a flat JSON answer. Enough for the names and states of this API; use jq for more.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

session=$(ask -f "$base/api/init-session" -H 'Content-Type: application/json' -d "{\"userId\":\"$user\"}" | field sessionId)
# A user id may hold a plus, which a URL may not.
path=$(printf %s "$session" | sed 's/+/%2B/g')
echo "session $session"

before=
while :; do
  # A server that restarts is no reason to give up.
  answer=$(ask "$base/api/session-status/$path" || true)
  status=$(printf %s "$answer" | field status)
  event=$(printf %s "$answer" | field lastEventId)
  if [ "$status$event" != "$before" ]; then
    before=$status$event
    echo "${status:-unreachable}"
    case $status in
      scan_qr)
        # Between the two questions a QR may expire: then the next answer has another event id.
        if ask -f -o "$file" "$base/api/qr-code/$path.png" 2>/dev/null; then echo "scan $file"; fi ;;
      connected) printf '%s\n' "$answer"; exit 0 ;;
      disconnected | failed) printf '%s\n' "$answer"; exit 1 ;;
    esac
  fi
  sleep "$every"
done
