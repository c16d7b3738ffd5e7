"""Ids of rows."""

import subprocess
import sys

FORKS = """
import os
from service.db.types import new_id
ours, theirs = os.pipe()
new_id("job")
if os.fork() == 0:
    os.write(theirs, new_id("job").encode())
    os._exit(0)
os.wait()
print(new_id("job"), os.read(ours, 100).decode())
"""


def test_processes_that_were_forked_make_other_ids() -> None:
    told = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    chance = [made[-16:] for made in told.stdout.split()]  # what is before them is the time
    assert len(chance) == len(set(chance)) == 2
