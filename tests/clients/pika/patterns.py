"""pika: the patterns of RabbitMQ's six tutorials. Usage: patterns.py AMQP_URI"""

import sys

import pika

PATIENCE = 20


def connect():
    parameters = pika.URLParameters(sys.argv[1])
    parameters.blocked_connection_timeout = PATIENCE
    return pika.BlockingConnection(parameters)


def take(channel, queue, count, auto_ack=True):
    """The next messages of a queue: method, properties and body of each."""
    taken = []
    for method, properties, body in channel.consume(queue, auto_ack=auto_ack, inactivity_timeout=PATIENCE):
        assert method is not None, f"only {len(taken)} of {count} messages came from {queue}"
        taken.append((method, properties, body))
        if len(taken) == count:
            break
    channel.cancel()
    return taken


def bodies(taken):
    return [body for _, _, body in taken]


def subscriber(channel, exchange, keys):
    queue = channel.queue_declare("", exclusive=True).method.queue
    for key in keys:
        channel.queue_bind(queue, exchange, routing_key=key)
    return queue


def hello(connection):
    channel = connection.channel()
    channel.queue_declare("pika-hello")
    channel.basic_publish("", "pika-hello", b"Hello World!")
    assert bodies(take(channel, "pika-hello", 1)) == [b"Hello World!"]


def work_queue(connection):
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("pika-tasks", durable=True)
    tasks = [b"task %d" % number for number in range(10)]
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    for task in tasks:
        # With confirms this waits for each, and raises if it is refused or returned.
        channel.basic_publish("", "pika-tasks", task, persistent, mandatory=True)
    received = {"lazy": [], "busy": []}
    lazy, busy = connection.channel(), connection.channel()
    for worker in (lazy, busy):
        worker.basic_qos(prefetch_count=1)

    def keep(_channel, method, _properties, body):
        received["lazy"].append((method.redelivered, body))

    def work(channel, method, _properties, body):
        received["busy"].append((method.redelivered, body))
        channel.basic_ack(method.delivery_tag)

    lazy.basic_consume("pika-tasks", keep)
    busy.basic_consume("pika-tasks", work)
    while len(received["busy"]) < 9:
        connection.process_data_events(PATIENCE)
    assert len(received["lazy"]) == 1
    lazy.close()
    while len(received["busy"]) < 10:
        connection.process_data_events(PATIENCE)
    assert received["busy"][-1] == (True, received["lazy"][0][1])
    assert not any(redelivered for redelivered, _ in received["busy"][:-1])
    assert sorted(body for _, body in received["busy"]) == tasks


def publish_subscribe(connection):
    channel = connection.channel()
    channel.exchange_declare("pika-logs", "fanout")
    queues = [subscriber(channel, "pika-logs", [""]) for _ in range(2)]
    channel.basic_publish("pika-logs", "", b"info: Hello World!")
    for queue in queues:
        assert bodies(take(channel, queue, 1)) == [b"info: Hello World!"]


def routing(connection):
    channel = connection.channel()
    channel.exchange_declare("pika-direct", "direct")
    errors = subscriber(channel, "pika-direct", ["error"])
    everything = subscriber(channel, "pika-direct", ["info", "warning", "error"])
    for severity in ("info", "error", "warning"):
        channel.basic_publish("pika-direct", severity, severity.encode())
    assert bodies(take(channel, everything, 3)) == [b"info", b"error", b"warning"]
    assert bodies(take(channel, errors, 1)) == [b"error"]
    assert channel.basic_get(errors)[0] is None


def topics(connection):
    channel = connection.channel()
    channel.exchange_declare("pika-topic", "topic")
    orange = subscriber(channel, "pika-topic", ["*.orange.*"])
    rabbits = subscriber(channel, "pika-topic", ["*.*.rabbit", "lazy.#"])
    for key in ("quick.orange.rabbit", "lazy.brown.fox", "quick.brown.fox", "lazy.orange.male.rabbit"):
        channel.basic_publish("pika-topic", key, key.encode())
    assert bodies(take(channel, orange, 1)) == [b"quick.orange.rabbit"]
    expected = [b"quick.orange.rabbit", b"lazy.brown.fox", b"lazy.orange.male.rabbit"]
    assert bodies(take(channel, rabbits, 3)) == expected


def rpc(connection):
    server = connection.channel()
    server.queue_declare("pika-rpc")
    server.basic_qos(prefetch_count=1)

    def serve(channel, method, properties, body):
        a, b = 0, 1
        for _ in range(int(body)):
            a, b = b, a + b
        answer = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, str(a).encode(), answer)
        channel.basic_ack(method.delivery_tag)

    server.basic_consume("pika-rpc", serve)
    with connect() as other:
        client = other.channel()
        replies = client.queue_declare("", exclusive=True).method.queue
        answers = []
        client.basic_consume(replies, lambda *message: answers.append(message[2:]), auto_ack=True)
        call = pika.BasicProperties(reply_to=replies, correlation_id="call 7")
        client.basic_publish("", "pika-rpc", b"30", call)
        while not answers:
            connection.process_data_events(0.05)
            other.process_data_events(0.05)
        properties, body = answers[0]
        assert (properties.correlation_id, body) == ("call 7", b"832040")


print(f"version {pika.__version__}", flush=True)
for name, pattern in (
    ("hello", hello),
    ("work queue", work_queue),
    ("publish/subscribe", publish_subscribe),
    ("routing", routing),
    ("topics", topics),
    ("rpc", rpc),
):
    with connect() as connection:
        pattern(connection)
    print("ok", name, flush=True)
