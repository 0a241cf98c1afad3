"""Follows a session with `websockets`. See docs/clients.md."""

import asyncio
import json

import websockets

from loop import Ended, address, show


async def connect(headers, cursor):
    uri = address("ws", cursor).replace("http", "ws", 1)
    async with websockets.connect(uri, additional_headers=headers) as socket:
        # Ends with 1000; every other close is raised. It pings by itself, so a dead connection is one of them.
        async for message in socket:
            frame = json.loads(message)
            yield frame.get("id"), frame["event"], frame["data"]
        raise Ended


asyncio.run(show(connect))
