"""What the recipes for Python in this folder share. Each is run as: python RECIPE.py SERVER SESSION_ID TOKEN_URL

TOKEN_URL is a route of your own back-end. It checks who asks, calls POST /api/sessions/{id}/stream-token with its API key, and
answers what that answered; or with a 4xx, which ends the recipe. See docs/clients.md.
"""

import asyncio
import json
import random
import sys
import time
import urllib.error
import urllib.request

# The server says something more often than this.
SILENCE = 45


class Ended(Exception):
    """The session has ended: nothing more will come."""


async def follow(connect):
    """Yields id, event and data of each event, until the session has ended.

    `connect(headers, cursor)` is one connection: it yields id, event and data, and raises `Ended`.
    """
    cursor, failures = None, 0
    while True:
        began, pause = time.monotonic(), 0
        headers = {"Authorization": f"Bearer {await token()}"}
        try:
            async for id, event, data in connect(headers, cursor):
                if event == "drain" and data["code"] != "TOKEN_EXPIRED":
                    pause = data["retryAfterMs"] / 1000
                # Some libraries repeat the last id for those that have none.
                if id and event not in ("status", "drain"):
                    cursor = id
                    yield id, event, data
        except Ended:
            return
        except Exception as error:  # Each library has its own.
            print(type(error).__name__, file=sys.stderr)
        if time.monotonic() - began > 5:
            failures = 0
        await asyncio.sleep(pause + random.random() * min(30, 0.5 * 2**failures))
        failures += 1


async def token():
    """A fresh token; waits until there is one."""
    while True:
        try:
            with await asyncio.to_thread(urllib.request.urlopen, sys.argv[3], timeout=10) as answer:
                return json.load(answer)["streamToken"]
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                sys.exit(f"no token: {error}")
            print(error, file=sys.stderr)
        await asyncio.sleep(random.uniform(1, 2))


def address(transport, cursor=None):
    """Of the stream: `events` over HTTP, `ws` over WebSocket."""
    server, session = sys.argv[1:3]
    query = f"?lastEventId={cursor}" if cursor else ""
    return f"{server}/api/sessions/{session}/{transport}{query}"


async def show(connect):
    """Prints a line for each event."""
    async for id, event, data in follow(connect):
        print(id, event, data["at"], flush=True)
    print("ended", flush=True)
