"""Celery: 1,000 tasks, acked late, of which none may be lost when a worker is killed. Usage: smoke.py AMQP_URI"""

import os
import subprocess
import sys
import tempfile
import time

TASKS = 1000
PATIENCE = 90


def worker():
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--loglevel=WARNING", "--concurrency=2"]
    command += ["--without-gossip", "--without-mingle"]
    here = os.path.dirname(os.path.abspath(__file__))
    # A session of its own, so that its children can be killed with it.
    return subprocess.Popen(command, cwd=here, start_new_session=True)


def kill(process):
    os.killpg(process.pid, 9)
    process.wait()


def done(record):
    with open(record, encoding="ascii") as lines:
        return {int(line) for line in lines}


def wait_for(record, count):
    deadline = time.monotonic() + PATIENCE
    while len(done(record)) < count:
        assert time.monotonic() < deadline, f"only {len(done(record))} of {count} tasks were carried out"
        time.sleep(0.05)


def main():
    with tempfile.TemporaryDirectory() as directory:
        record = os.path.join(directory, "record")
        with open(record, "w", encoding="ascii"):
            pass
        os.environ["LEVERET_RECORD"] = record
        os.environ["LEVERET_URI"] = sys.argv[1]
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        from tasks import note

        first = worker()
        try:
            result = note.delay(0)
            assert result.get(timeout=PATIENCE) == 0
            print("ok result")
            for number in range(1, TASKS):
                note.delay(number)
            wait_for(record, TASKS // 10)
        finally:
            kill(first)
        second = worker()
        try:
            wait_for(record, TASKS)
            assert done(record) == set(range(TASKS))
            print("ok killed worker")
        finally:
            kill(second)


main()
