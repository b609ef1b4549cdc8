"""Ctrl-C: the first one asks a training run to stop, the second one ends it at once."""

import os
import signal
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)
MESSAGE = b"\nfinishing this step, then saving; once more stops at once\n"


class Interrupt:
    """Context manager: inside, `asked` becomes True at the first SIGINT (Ctrl-C) or
    SIGTERM. The second one raises KeyboardInterrupt.

    A signal that the process ignores is still ignored (a shell starts jobs in the
    background like this). Outside of the main thread, where Python allows no handlers,
    this does nothing.
    """

    asked = False

    def __enter__(self):
        self.old = {}
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self.old[number] = signal.signal(number, self._first)
        return self

    def __exit__(self, *_):
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _first(self, *_):
        self.asked = True
        for number in self.old:
            signal.signal(number, signal.default_int_handler)
        if os.environ.get("RANK", "0") == "0":
            # print() might be interrupted itself
            os.write(2, MESSAGE)
