"""The only process of the service that loads the library for Arrow: `python -m service.codecs.arrow_process`.

Its children decode tables and write exports.
"""

import gc

import msgspec
import pyarrow as pa

from service.codecs.export_process import export
from service.codecs.table_frames import ExportTask, Task
from service.codecs.table_process import decode
from service.codecs.warm_process import WarmProcess


def main() -> None:
    """Serve the process that started this one."""
    load()
    gc.collect()
    gc.freeze()  # a search for garbage in a child would copy what it shares with this process
    WarmProcess(work).serve()


def load() -> None:
    """Do once what each child would do."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    pa.array([""])  # the first array has the library look for pandas, and load it where it is: 0.3 s of each export


def work(message: bytes) -> None:
    """In a child: do what is asked."""
    task = msgspec.json.decode(message, type=Task | ExportTask)
    if isinstance(task, Task):
        decode(task)
    else:
        export(task)


if __name__ == "__main__":
    main()
