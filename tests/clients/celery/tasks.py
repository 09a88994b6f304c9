"""The tasks that the worker carries out. LEVERET_URI names the broker, LEVERET_RECORD the file to note what was carried out in."""

import os
import time

from celery import Celery

app = Celery("smoke", broker=os.environ["LEVERET_URI"], backend="rpc://")
app.conf.update(
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
    task_default_queue="smoke",
    worker_hijack_root_logger=False,
)


@app.task
def double(number):
    """Is acked before it is carried out, and answers."""
    return 2 * number


@app.task(acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def note(number):
    """Is acked when it has been carried out, which it notes. A line is written whole or not at all."""
    time.sleep(0.001)
    with open(os.environ["LEVERET_RECORD"], "a", encoding="ascii") as record:
        record.write(f"{number}\n")
