"""Follows a session with `websocket-client`, which blocks and therefore waits in a thread. See docs/clients.md."""

import asyncio
import json

import websocket

from loop import SILENCE, Ended, address, show


async def connect(headers, cursor):
    uri = address("ws", cursor).replace("http", "ws", 1)
    socket = await asyncio.to_thread(websocket.create_connection, uri, timeout=SILENCE, header=headers)
    try:
        while True:
            # Unlike `recv`, which says nothing but "" at every close.
            kind, message = await asyncio.to_thread(socket.recv_data)
            if kind == websocket.ABNF.OPCODE_CLOSE:
                break
            frame = json.loads(message)
            yield frame.get("id"), frame["event"], frame["data"]
        if int.from_bytes(message[:2], "big") == 1000:
            raise Ended
    finally:
        socket.shutdown()


asyncio.run(show(connect))
