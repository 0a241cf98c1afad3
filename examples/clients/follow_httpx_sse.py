"""Follows a session with `httpx-sse`. See docs/clients.md."""

import asyncio

import httpx
from httpx_sse import aconnect_sse

from loop import SILENCE, Ended, address, show


async def connect(headers, cursor):
    if cursor:
        headers["Last-Event-ID"] = cursor
    async with (
        httpx.AsyncClient(timeout=SILENCE) as client,
        aconnect_sse(client, "GET", address("events"), headers=headers) as source,
    ):
        if source.response.status_code == 204:
            raise Ended
        source.response.raise_for_status()
        async for message in source.aiter_sse():
            yield message.id, message.event, message.json()


asyncio.run(show(connect))
