"""Celery's client. Usage: smoke.py results|send, with the environment of tasks.py, while a worker runs"""

import sys

from tasks import double, note

TASKS = 1000
PATIENCE = 50


def results():
    """Sends tasks and waits for the result of each."""
    tasks = [double.delay(number) for number in range(TASKS)]
    assert [task.get(timeout=PATIENCE) for task in tasks] == [2 * number for number in range(TASKS)]
    print("ok results")


def send():
    """Sends tasks that are acked late, and waits for none."""
    for number in range(TASKS):
        note.delay(number)
    print("ok sent")


{"results": results, "send": send}[sys.argv[1]]()
