"""kombu: queues, a producer that retries, a consumer that rejects, a dead-letter queue. Usage: smoke.py AMQP_URI"""

import socket
import sys

from kombu import Connection, Consumer, Exchange, Producer, Queue

PATIENCE = 20


def drain(connection, taken, count):
    while len(taken) < count:
        try:
            connection.drain_events(timeout=PATIENCE)
        except socket.timeout:
            raise AssertionError(f"only {len(taken)} of {count} messages came") from None


def work(connection):
    exchange = Exchange("kombu", type="topic")
    queue = Queue("kombu", exchange, routing_key="a.#", max_priority=5)
    taken = []
    with connection.channel() as channel:
        producer = Producer(channel, exchange=exchange, serializer="json")
        for number in range(100):
            producer.publish({"number": number}, routing_key=f"a.{number}", declare=[queue], retry=True)

        def take(body, message):
            taken.append(body["number"])
            message.ack()

        with Consumer(channel, queues=[queue], callbacks=[take], prefetch_count=10):
            drain(connection, taken, 100)
        assert sorted(taken) == list(range(100)), taken
        queue(channel).delete()
        exchange(channel).delete()


def dead_letters(connection):
    dead = Queue("kombu.dead", Exchange("kombu.dead", type="fanout"))
    queue = Queue("kombu.alive", queue_arguments={"x-dead-letter-exchange": "kombu.dead", "x-message-ttl": 60000})
    taken = []
    with connection.channel() as channel:
        dead(channel).declare()
        Producer(channel).publish("rejected", routing_key="kombu.alive", declare=[queue])

        def reject(_body, message):
            message.reject()

        def take(body, message):
            taken.append((body, message.headers["x-death"][0]["reason"]))
            message.ack()

        with Consumer(channel, queues=[queue], callbacks=[reject]), Consumer(channel, queues=[dead], callbacks=[take]):
            drain(connection, taken, 1)
        assert taken == [("rejected", "rejected")], taken
        queue(channel).delete()
        dead(channel).delete()


def main():
    with Connection(sys.argv[1], transport_options={"confirm_publish": True}) as connection:
        work(connection)
        print("ok work")
        dead_letters(connection)
        print("ok dead letters")


main()
