"""pika: publishes with confirms on one node and consumes on another. Usage: cluster.py AMQP_URI AMQP_URI

It says "kill" when the node of the durable queue "pika.cluster" is to be killed and started again with the same data."""

import sys
import threading
import time

import pika

QUEUE = "pika.cluster"
BEFORE, AFTER = 300, 300
PATIENCE = 50

confirmed = set()
published = set()
consumed = set()
done = set()
killed = threading.Event()
told = {"refused": 0, "reconnected": 0, "cancelled": 0}


def channel_to(uri):
    parameters = pika.URLParameters(uri)
    parameters.blocked_connection_timeout = PATIENCE
    return pika.BlockingConnection(parameters).channel()


def publish(uri):
    """Each message until it is confirmed, over as many connections as it takes."""
    channel = None
    for number in range(BEFORE + AFTER):
        if number == BEFORE:
            killed.set()
            print("kill", flush=True)
        body = b"%d" % number
        published.add(body)
        while body not in confirmed:
            try:
                if channel is None:
                    channel = channel_to(uri)
                    channel.confirm_delivery()
                persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
                channel.basic_publish("", QUEUE, body, persistent, mandatory=True)
                confirmed.add(body)
            except pika.exceptions.NackError:
                told["refused"] += 1
                time.sleep(0.05)
            except pika.exceptions.AMQPError:
                told["reconnected"] += 1
                channel = None
                time.sleep(0.05)
        # Some are under way whenever the node dies.
        time.sleep(0.002)
    channel.connection.close()
    done.add("confirmed")


def consume(uri):
    """Until all that was confirmed is there."""
    while True:
        try:
            channel = channel_to(uri)
            channel.queue_declare(QUEUE, durable=True)
            channel.basic_qos(prefetch_count=20)
            for method, _, body in channel.consume(QUEUE, inactivity_timeout=0.2):
                if method is not None:
                    assert body in published, f"a phantom: {body}"
                    assert body not in consumed or method.redelivered or killed.is_set(), f"twice: {body}"
                    consumed.add(body)
                    channel.basic_ack(method.delivery_tag)
                if len(confirmed) == BEFORE + AFTER and confirmed <= consumed:
                    channel.connection.close()
                    done.add("consumed")
                    return
            told["cancelled"] += 1
            channel.connection.close()
        except pika.exceptions.AMQPError:
            time.sleep(0.05)


threads = [
    threading.Thread(target=publish, args=[sys.argv[1]], daemon=True),
    threading.Thread(target=consume, args=[sys.argv[2]], daemon=True),
]
deadline = time.monotonic() + PATIENCE
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(max(0, deadline - time.monotonic()))
print(f"ok: {told}")
missing = confirmed - consumed
assert len(done) == 2, f"{len(confirmed)} confirmed, {len(missing)} of them not consumed"
for work in done:
    print(f"ok {work}")
