"""The disk of the service's files: small, so that it can be filled."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

_SIZE_MIB = 1024  # a long run writes 400 MiB of its own on a fast machine: only the ballast is to fill it


class Disk:
    """A folder on a file system of its own where that is allowed, else an ordinary one, which is never filled.

    Attributes:
        folder: Where to write.
        can_be_filled: Whether `fill` works here; mounting needs root.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m,mode=0700", "tmpfs", str(folder)]
        self.can_be_filled = (
            os.getuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
        )
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount."""
        if self.can_be_filled:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)
