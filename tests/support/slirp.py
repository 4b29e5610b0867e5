"""QEMU's user networking as a client sees it (libslirp 4.7), in front of a real server.

It accepts at once and asks the guest at 0, 6, 18, 30... s for as long as that does not answer;
at 75 s it hangs up.  While it asks it does not look at its client: what has been closed by then
is handed on all the same.  Where nobody listens the guest's kernel refuses, which is a hang-up.
"""

import asyncio
import contextlib
import threading
import time

_LAST = 75


class Slirp:
    """port and canary: forwarded ports on loopback.  server: (host, port) of the real one.

    network, sshd: seconds of its clock after which the guest has its address, and its sshd
    listens.  pace: how many times as fast that clock goes.  mute: a firewall drops what nobody
    listens for.  seen: instants (of its clock) at which the guest's sshd got a connection.
    greet(number): of the n-th connection, seconds before it is passed on, or bytes that it gets
    instead of the server.
    """

    def __init__(self, server=None, network=0.0, sshd=0.0, pace=10, mute=False, greet=None, canary=True):
        self.server, self.network, self.sshd, self.pace, self.mute = server, network, sshd, pace, mute
        self.greet = greet or (lambda number: 0)
        self.seen, self.canaries, self.accepted, self.began = [], 0, 0, time.monotonic()
        self._has_canary, self._tasks = canary, set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._servers = self._run(self._listen())
        self.port = self._servers[0].sockets[0].getsockname()[1]
        self.canary = self._servers[1].sockets[0].getsockname()[1] if canary else None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self):
        handlers = [self._ssh, self._canary] if self._has_canary else [self._ssh]
        return [await asyncio.start_server(handler, "127.0.0.1", 0) for handler in handlers]

    async def _end(self):
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def now(self):
        """Seconds of its clock since it began."""
        return (time.monotonic() - self.began) * self.pace

    def reset(self, network, sshd):
        """The machine starts anew: what is pending stays so, and the guest boots from now on."""
        self.network, self.sshd = self.now() + network, self.now() + sshd

    def most_in(self, seconds=80):
        """The most connections that the guest's sshd saw in so many seconds, in a row."""
        return max([sum(1 for other in self.seen if at <= other < at + seconds) for at in self.seen] or [0])

    async def _ssh(self, reader, writer):
        self.accepted += 1
        await self._serve(reader, writer, lambda: self.now() >= self.sshd, True)

    async def _canary(self, reader, writer):
        self.canaries += 1
        await self._serve(reader, writer, lambda: False, not self.mute)

    async def _serve(self, reader, writer, listens, refuses):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            if await self._asks(listens, refuses):
                number = len(self.seen)
                self.seen.append(self.now())
                await self._hand_on(reader, writer, self.greet(number))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _asks(self, listens, refuses):
        """Whether the guest has accepted; else it is to be hung up on."""
        age, step = 0, 6
        while age < _LAST:
            if self.now() >= self.network and (refuses or listens()):
                return listens()
            await asyncio.sleep(min(step, _LAST - age) / self.pace)
            age, step = age + step, 12
        return False

    async def _hand_on(self, reader, writer, greeting):
        if isinstance(greeting, bytes):
            writer.write(greeting)
            await writer.drain()
            return
        await asyncio.sleep(greeting / self.pace)
        there, to = await asyncio.open_connection(*self.server)
        try:
            await asyncio.gather(_pass_on(reader, to), _pass_on(there, writer))
        finally:
            to.close()


async def _pass_on(reader, writer):
    with contextlib.suppress(OSError):
        while True:
            data = await reader.read(65536)
            if not data:
                break
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
