"""aio-pika: a robust connection that comes back, with its queues and consumers. Usage: smoke.py AMQP_URI

It says "restart" when the broker is to be killed and started again at the same address with the same data."""

import asyncio
import sys

import aio_pika

PATIENCE = 50


async def smoke(uri):
    connection = await aio_pika.connect_robust(uri, reconnect_interval=0.2)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=10)
    queue = await channel.declare_queue("aio-pika", durable=True)
    kept = await channel.declare_queue("aio-pika.kept", durable=True)
    taken = asyncio.Queue()

    async def take(message):
        async with message.process():
            await taken.put(message.body)

    await queue.consume(take)

    async def publish(number, routing_key="aio-pika"):
        """Returns when it is confirmed."""
        message = aio_pika.Message(f"{number}".encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=routing_key)

    async def expect(numbers):
        wanted = {f"{number}".encode() for number in numbers}
        while wanted:
            wanted.discard(await taken.get())

    for number in range(100):
        await publish(number)
    await expect(range(100))
    for number in range(50):
        await publish(number, "aio-pika.kept")
    print("ok work")

    back = asyncio.Event()
    connection.reconnect_callbacks.add(lambda *_: back.set())
    print("restart", flush=True)
    await back.wait()
    for number in range(100, 200):
        await publish(number)
    # Nobody has consumed again but the robust connection.
    await expect(range(100, 200))
    print("ok reconnect")
    for number in range(50):
        message = await kept.get()
        assert message.body == f"{number}".encode(), message.body
        await message.ack()
    print("ok kept")
    await connection.close()


asyncio.run(asyncio.wait_for(smoke(sys.argv[1]), PATIENCE))
