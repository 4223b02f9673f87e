"""What is known of the rows of a manifest, so that a run that was killed goes on where it stood. Standard library only."""

import errno
import json
import os
import threading
from pathlib import Path


class Journal:
    """A file of JSON lines, one per change of a row; the last line of a key counts. `self.last` is {key: that line}.

    A line is on the disk before `write` returns. A line that a crash or a full disk cut off is dropped, never read as something
    else. One process at a time (the caller holds a lock), any number of threads.
    """

    def __init__(self, path: Path):
        self.path, self.last, self._lock = path, {}, threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with open(path, "rb") as file:
            text = file.read()
        self._end = text.rfind(b"\n") + 1
        os.ftruncate(self._file, self._end)
        for line in text[:self._end].splitlines():
            try:
                record = json.loads(line)
                self.last[record["key"]] = record
            except (ValueError, KeyError, TypeError):
                continue

    def write(self, key: str, state: str, **more) -> None:
        """Append and sync. OSError when the disk does not take it; then the file is as it was."""
        record = {"key": key, "state": state, **more}
        line = (json.dumps(record) + "\n").encode()
        with self._lock:
            if self._file is None:
                raise OSError(errno.EBADF, "the journal is closed")
            try:
                os.lseek(self._file, self._end, os.SEEK_SET)
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(self._file, rest):]
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, self._end)
                raise
            self._end += len(line)
            self.last[key] = record

    def close(self) -> None:
        """Close the file; a later `write` raises OSError. Safe to call more than once."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                os.close(file)
