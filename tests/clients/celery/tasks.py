"""The tasks that the worker of smoke.py carries out. LEVERET_URI names the broker, LEVERET_RECORD the file to note results in."""

import os

from celery import Celery

app = Celery("smoke", broker=os.environ["LEVERET_URI"], backend="rpc://")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
    task_default_queue="smoke",
    worker_hijack_root_logger=False,
)


@app.task
def note(number):
    """Notes that it was carried out. A line is written whole or not at all."""
    with open(os.environ["LEVERET_RECORD"], "a", encoding="ascii") as record:
        record.write(f"{number}\n")
    return number
