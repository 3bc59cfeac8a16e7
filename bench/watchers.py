"""Some viewers of one run, in a process of their own: prints how many lines each one saw."""

import asyncio
import json
import os
import sys

from websockets.asyncio.client import connect
from websockets.typing import Origin


async def watch(url: str, lines: int) -> int:
    seen = 0
    async with connect(
        url,
        origin=Origin(os.environ["ORIGIN"]),
        additional_headers={"Authorization": f"Bearer {os.environ['TOKEN']}"},
        compression=None,
        max_size=None,
    ) as socket:
        while seen < lines:
            message = json.loads(await socket.recv())
            if message["type"] == "log":
                seen += message["text"].count("\n")
    return seen


async def main(url: str, viewers: int, lines: int) -> None:
    print(json.dumps(await asyncio.gather(*(watch(url, lines) for _ in range(viewers)))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], **json.load(sys.stdin)))
