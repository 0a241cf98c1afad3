#!/usr/bin/env bash
# Follows a session with curl. Run as: curl.sh SERVER SESSION_ID TOKEN_URL; shared.mjs says what TOKEN_URL is.
# See docs/clients.md.

events=$1/api/sessions/$2/events token_url=$3
cursor='' pause=2

while :; do
  token=$(curl -fsS --retry 9999 --retry-connrefused --retry-delay 2 "$token_url" | sed -n 's/.*"streamToken":"\([^"]*\)".*/\1/p')
  [ -n "$token" ] || exit 1
  id=''
  while IFS= read -r line; do
    case $line in
      'retry: '*) pause=$((${line#retry: } / 1000)) ;;
      'id: '*) id=${line#id: } ;;
      'event: '*) event=${line#event: } ;;
      'data: '*) data=${line#data: } ;;
      'status 204') echo ended && exit ;;
      '')
        if [ -n "$id" ]; then
          cursor=$id
          echo "$id $event ${data:0:60}"
        fi
        id=''
        ;;
    esac
    # The token goes in by a file, because everybody on the machine can read arguments.
  done < <(curl -sSN --speed-limit 1 --speed-time 45 -H @<(echo "Authorization: Bearer $token") ${cursor:+-H "Last-Event-ID: $cursor"} \
    -w 'status %{http_code}\n' "$events")
  sleep $((pause + RANDOM % 2))
done
