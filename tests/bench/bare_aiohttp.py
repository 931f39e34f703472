"""The yardstick: a bare aiohttp pass-through on uvloop, with no auth, no policy and no telemetry.

usage: bare_aiohttp.py PORT UPSTREAM_PORT
"""

import asyncio
import signal
import sys

import aiohttp
import uvloop
from aiohttp import web


async def serve(port: int, upstream: int) -> None:
    """Relay POST bodies to the upstream and its answer back, read by read, until SIGTERM."""
    url = f"http://127.0.0.1:{upstream}/v1/chat/completions"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as session:

        async def relay(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                if b'"stream": true' not in body and b'"stream":true' not in body:
                    return web.Response(body=await answer.read(), content_type="application/json")
                out = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await out.prepare(request)
                async for chunk in answer.content.iter_any():
                    await out.write(chunk)
                await out.write_eof()
                return out

        app = web.Application(client_max_size=2**25)
        app.router.add_post("/v1/chat/completions", relay)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
