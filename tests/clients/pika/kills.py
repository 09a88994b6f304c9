"""pika: publishes with confirms on one node and consumes on another, with acks, while nodes are killed.

Usage: kills.py FOLDER URI,URI,URI URI,URI,URI

The first URIs are for publishing and the others for consuming; each time the first node that can be reached is taken. The numbers of
the last message that was published, confirmed and consumed are in FOLDER/status. When there is a FOLDER/over, it publishes no more,
and ends when all that was confirmed is there."""

import os
import sys
import threading
import time

import pika

QUEUE = "pika.kills"
PREFETCH = 50

folder = sys.argv[1]
published = set()
confirmed = set()
consumed = set()
last = {"published": 0, "confirmed": 0, "consumed": 0}
told = {"redelivered": 0, "refused": 0, "publisher reconnected": 0, "consumer reconnected": 0}
wrong = []


def is_over():
    return os.path.exists(os.path.join(folder, "over"))


def channel_to(uris):
    for uri in uris.split(","):
        parameters = pika.URLParameters(uri)
        parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = 5
        try:
            channel = pika.BlockingConnection(parameters).channel()
            channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            return channel
        except pika.exceptions.AMQPError:
            continue
    raise pika.exceptions.AMQPConnectionError


def publish(uris):
    """Each message until it is confirmed, over as many channels as it takes."""
    channel, channels, number = None, 0, 0
    while not is_over():
        number += 1
        is_confirmed = False
        while not is_confirmed:
            try:
                if channel is None:
                    channel = channel_to(uris)
                    channel.confirm_delivery()
                    channels += 1
                body = b"%d %d" % (channels, number)
                published.add(body)
                last["published"] = number
                persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
                channel.basic_publish("", QUEUE, body, persistent, mandatory=True)
                is_confirmed = True
                confirmed.add(body)
                last["confirmed"] = number
            except pika.exceptions.NackError:
                told["refused"] += 1
                time.sleep(0.02)
            except pika.exceptions.AMQPError:
                told["publisher reconnected"] += 1
                channel = None
                time.sleep(0.02)
        # So that the consumer keeps up, and some are under way whenever a node dies.
        time.sleep(0.002)
    channel.connection.close()


def take(body, is_redelivered, latest):
    """What was delivered was published, and came once, in the order of its channel, or says that it comes again."""
    if body not in published:
        wrong.append(f"a phantom: {body}")
        return
    channel, number = map(int, body.split())
    if is_redelivered:
        told["redelivered"] += 1
    elif number <= latest.get(channel, 0):
        # A message that was refused is published again on the same channel.
        if number < latest[channel] or not told["refused"]:
            wrong.append(f"message {number} of channel {channel} came after {latest[channel]}")
    else:
        latest[channel] = number
    consumed.add(body)
    last["consumed"] = max(last["consumed"], number)


def consume(uris):
    """Until all that was confirmed is there."""
    latest = {}
    while True:
        try:
            channel = channel_to(uris)
            channel.basic_qos(prefetch_count=PREFETCH)
            for method, _, body in channel.consume(QUEUE, inactivity_timeout=0.1):
                if method is not None:
                    take(body, method.redelivered, latest)
                    channel.basic_ack(method.delivery_tag)
                if not publisher.is_alive() and confirmed <= consumed:
                    channel.connection.close()
                    return
        except pika.exceptions.AMQPError:
            told["consumer reconnected"] += 1
            time.sleep(0.02)


def tell():
    """Where it is, in one piece."""
    while True:
        path = os.path.join(folder, "status")
        with open(path + ".new", "w") as status:
            print(last["published"], last["confirmed"], last["consumed"], file=status)
        os.replace(path + ".new", path)
        time.sleep(0.01)


publisher = threading.Thread(target=publish, args=[sys.argv[2]], daemon=True)
consumer = threading.Thread(target=consume, args=[sys.argv[3]], daemon=True)
for thread in (publisher, consumer, threading.Thread(target=tell, daemon=True)):
    thread.start()
publisher.join()
# The last redeliveries come once the nodes have found each other.
consumer.join(30)
print(f"ok: {len(confirmed)} confirmed, {told}")
missing = confirmed - consumed
assert not missing, f"{len(missing)} of {len(confirmed)} confirmed messages are lost, such as {min(missing)}"
assert not consumer.is_alive(), "the consumer does not come to its end"
assert not wrong, f"{len(wrong)} are wrong, such as {wrong[0]}"
print("ok nothing lost")
print("ok in order")
