"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it has begun is ended in words, and its terminal is restored.

Only the commands do this: their process is ours. The package leaves the signals of other programs alone.
"""

from __future__ import annotations

import signal
import threading


class Terminated(BaseException):
    """The process was sent a signal that ends it. ``number``: the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"The program was ended by {signal.Signals(number).name}")
        self.number = number


def reason_of(end: BaseException) -> str:
    """Say why the program ends, as the beginning of a sentence."""
    return str(end) if isinstance(end, Terminated) else "The program was interrupted"


def raise_on_signals() -> None:
    """Raise `Terminated` in the main thread at SIGTERM or SIGHUP. A second signal ends the process at once.

    A signal that is ignored, as `nohup` has it, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _raise)


def _raise(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Terminated(number)
