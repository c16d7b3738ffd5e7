"""A TCP proxy that can cut, hold back and swallow what passes through it."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Literal

from tests.support.redis_server import PATIENCE_SECONDS

Mode = Literal["open", "cut", "black_hole", "delay"]
_PIECE_BYTES = 65_536
_DELAY_SECONDS = 0.2


class Proxy:
    """Listens on a free port of loopback and passes everything on to `target_port`, in a thread of its own.

    Attributes:
        port: Where it listens, for as long as it lives.
        mode: `open`; `cut` resets connections, and new ones at once; `black_hole` takes everything and passes nothing
            on; `delay` passes each piece on late.
    """

    def __init__(self, target_port: int) -> None:
        self.mode: Mode = "open"
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.set("open")
        self._server: asyncio.Server = self._do(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def set(self, mode: Mode) -> None:
        """Change the mode, for connections that are open too. What a black hole swallowed comes out afterwards."""
        self._do(self._set(mode))

    def close(self) -> None:
        """Cut everything and stop."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    async def _set(self, mode: Mode) -> None:
        self.mode = mode
        if mode == "black_hole":
            self._passing.clear()
        else:
            self._passing.set()
        if mode == "cut":
            for writer in self._writers:
                writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        target: asyncio.StreamWriter | None = None
        try:
            await self._held()
            if self.mode != "cut":
                there, target = await asyncio.open_connection("127.0.0.1", self._target_port)
                self._writers.add(target)
                await self._both(self._pass_on(reader, target), self._pass_on(there, writer))
        except OSError:
            pass  # the target is down: so is the connection
        finally:
            for end in (writer, target):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _both(self, *directions: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.ensure_future(direction) for direction in directions]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                await self._held()
                writer.write(piece)
                await writer.drain()

    async def _held(self) -> None:
        if self.mode == "delay":
            await asyncio.sleep(_DELAY_SECONDS)
        await self._passing.wait()
