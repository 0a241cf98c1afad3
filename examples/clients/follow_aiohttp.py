"""Follows a session with `aiohttp`. See docs/clients.md."""

import asyncio

import aiohttp

from loop import SILENCE, Ended, address, show


async def connect(headers, cursor):
    timeout = aiohttp.ClientWSTimeout(ws_receive=SILENCE)
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.ws_connect(address("ws", cursor), timeout=timeout) as socket,
    ):
        async for message in socket:
            frame = message.json()
            yield frame.get("id"), frame["event"], frame["data"]
        # Every close ends the loop in the same way.
        if socket.close_code == 1000:
            raise Ended


asyncio.run(show(connect))
