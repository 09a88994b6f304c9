"""aio-pika: a robust connection that comes back, with its queues and consumers, when it is cut. Usage: smoke.py AMQP_URI"""

import asyncio
import sys
from urllib.parse import urlsplit

import aio_pika

PATIENCE = 30


class Proxy:
    """Stands between the client and the broker, so that connections can be cut."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.writers = set()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        upstream_reader, upstream_writer = await asyncio.open_connection(*self.target)
        self.writers |= {writer, upstream_writer}

        async def pump(source, sink):
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except (ConnectionError, asyncio.CancelledError):
                pass
            sink.close()

        await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


async def smoke(uri):
    target = urlsplit(uri)
    proxy = Proxy(target.hostname, target.port)
    port = await proxy.start()
    connection = await aio_pika.connect_robust(f"amqp://guest:guest@127.0.0.1:{port}/", reconnect_interval=0.2)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=10)
    queue = await channel.declare_queue("aio-pika", durable=True)
    taken = asyncio.Queue()

    async def take(message):
        async with message.process():
            await taken.put(message.body)

    await queue.consume(take)

    async def publish(number):
        message = aio_pika.Message(f"{number}".encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key="aio-pika")

    async def expect(numbers):
        wanted = {f"{number}".encode() for number in numbers}
        while wanted:
            wanted.discard(await asyncio.wait_for(taken.get(), PATIENCE))

    for number in range(100):
        await publish(number)
    await expect(range(100))
    print("ok work")

    back = asyncio.Event()
    connection.reconnect_callbacks.add(lambda *_: back.set())
    proxy.cut()
    await asyncio.wait_for(back.wait(), PATIENCE)
    for number in range(100, 200):
        await publish(number)
    await expect(range(100, 200))
    print("ok reconnect")
    await queue.delete(if_unused=False, if_empty=False)
    await connection.close()


asyncio.run(asyncio.wait_for(smoke(sys.argv[1]), 3 * PATIENCE))
