"""What a process asks of the kernel about itself: to end with its parent, and to be left alone."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends.

    Call it first thing after a fork. Linux only; elsewhere a child of a killed parent lives on, and what it holds is
    given up by its lease. The kernel takes the thread that forked for the parent.

    Args:
        parent_pid: The pid that forked, to notice that it died before this call.
    """
    if sys.platform != "linux":
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def keep_others_out() -> None:
    """Let no other process of this user read or write the memory of this one, nor of its forks. Linux only."""
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
