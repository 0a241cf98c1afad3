#!/usr/bin/env python3
"""Follows one session over Server-Sent Events with nothing but Python's standard library.

    python3 examples/follow.py http://127.0.0.1:3000 SESSION_ID [TOKEN]

Prints each event once, as a line of JSON, for as long as the session lives: it reconnects with its cursor, stays away
as long as it is asked to, and stops when told that nothing more will come. Ends with 0 when the session has ended, with
1 when the server refuses for good. `follow()` can be used from another program.
"""

import json
import random
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# The server says something at least every 15 s; a line that is silent for longer is dead.
SILENCE = 45.0


class Refused(Exception):
    """The server will not serve this session to us, now or later."""


def follow(base, session, token=None):
    """Yields `{"id", "event", "data"}` until the session has ended."""
    url = f"{base.rstrip('/')}/api/sessions/{urllib.parse.quote(session)}/events"
    cursor, pause = None, FIRST_PAUSE
    while True:
        asked = None
        try:
            for frame in connect(url, cursor, token):
                pause = FIRST_PAUSE
                if frame["event"] == "drain":
                    if frame["data"]["code"] == "TOKEN_EXPIRED":
                        raise Refused("the token has expired")
                    asked = frame["data"]["retryAfterMs"] / 1000
                elif frame["id"] is not None:
                    cursor = frame["id"]
                    yield frame
        except StopFollowing:
            return
        except OSError as error:
            print(f"{error}; trying again", file=sys.stderr)
        # Half to all of the pause, so that viewers who lost the server together do not return together.
        time.sleep(asked if asked is not None else pause * random.uniform(0.5, 1))
        pause = min(LONGEST_PAUSE, pause * 2)


class StopFollowing(Exception):
    """The session has ended, and we have heard all of it."""


def connect(url, cursor, token):
    """One connection: yields its frames until it ends."""
    headers = {"Accept": "text/event-stream"}
    if cursor is not None:
        headers["Last-Event-ID"] = cursor
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SILENCE)
    except urllib.error.HTTPError as error:
        if error.code in (400, 401, 403, 404):
            raise Refused(json.load(error).get("error", error.reason)) from error
        raise
    with response:
        if response.status == 204:
            raise StopFollowing
        fields = {}
        for line in response:
            name, _, value = line.decode().rstrip("\r\n").partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
                continue
            # An empty line ends a block, and an empty name a comment.
            if not value and "data" in fields:
                yield {"id": fields.get("id"), "event": fields["event"], "data": json.loads(fields["data"])}
            if not value:
                fields = {}


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    try:
        for frame in follow(*sys.argv[1:]):
            print(json.dumps(frame, ensure_ascii=False), flush=True)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
