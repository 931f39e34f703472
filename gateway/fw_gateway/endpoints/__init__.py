"""One endpoint a module: bytes become a call, a reply becomes bytes. Nothing here knows aiohttp."""
