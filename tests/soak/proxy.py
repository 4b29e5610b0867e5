"""A proxy for TCP that cuts connections: proxy.py PORT; prints its own port.

One in ten is reset after some bytes, one in ten pauses now and then; SIGUSR1 resets all.
"""

import asyncio
import random
import signal
import sys

writers = set()


async def pump(reader, writer, cut_after, pauses):
    try:
        while True:
            data = await reader.read(65536)
            if not data:
                break
            cut_after -= len(data)
            if cut_after < 0:
                raise ConnectionResetError
            if pauses and random.random() < 0.05:
                await asyncio.sleep(0.5)
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
    except asyncio.CancelledError:
        pass


async def serve(reader, writer, port):
    fate = random.random()
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.transport.abort()
        return
    writers.update([writer, far_writer])
    cut_after = random.randrange(200, 300000) if fate < 0.1 else float("inf")
    await asyncio.gather(pump(reader, far_writer, cut_after, 0.1 < fate < 0.2),
                         pump(far_reader, writer, cut_after, 0.1 < fate < 0.2))
    for each in (writer, far_writer):
        writers.discard(each)
        each.transport.abort()


def cut():
    for writer in list(writers):
        writer.transport.abort()


async def main(port):
    server = await asyncio.start_server(lambda reader, writer: serve(reader, writer, port), "127.0.0.1", 0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, cut)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
