"""What frozen networks said of a sample, kept on disk, so that a step does not encode.

One safetensors file per sample and drawn version, under the hash of all it depends on: the sample's files (name, size, time of change),
the geometry drawn for it, the size, the method's options, and the encoders. Another choice of any of these finds nothing and encodes
again; nothing stale is ever used.
"""

from __future__ import annotations

import json
import os
import tempfile
from hashlib import blake2b
from pathlib import Path

from .tasks.base import Encoded


IN_MEMORY = 2**29
"""Bytes of encodings that stay in memory: a small data set is read from disk once."""


class EncodedCache:
    """Encoded samples in a folder.

    Args:
        folder: made when the first sample is kept. None keeps nothing.
        identity: of task, encoders and settings; part of every key.
        in_memory: bytes of encodings that are kept in memory too, those that came first.
    """

    def __init__(self, folder: Path | None, identity: str, in_memory: int = IN_MEMORY):
        self.folder, self.identity = None if folder is None else Path(folder), identity
        self.memory: dict[str, Encoded] = {}
        self.room = in_memory
        self.found = self.made = 0
        self.problem = ""

    def path(self, key: str) -> Path:
        """Where an encoding lies."""
        digest = blake2b(f"{self.identity}\n{key}".encode(), digest_size=16).hexdigest()
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def get(self, key: str) -> Encoded | None:
        """A kept encoding, or None; a file that is not whole counts as none."""
        if self.folder is None:
            return None
        if key in self.memory:
            return self.memory[key]
        from safetensors import safe_open

        path = self.path(key)
        if not path.is_file():
            return None
        try:
            with safe_open(str(path), framework="pt") as file:
                header = file.metadata()
                encoded = Encoded(header["name"], {k: file.get_tensor(k) for k in file.keys()}, json.loads(header["text"]))
        except Exception:  # damaged: made anew and overwritten
            return None
        self.found += 1
        self._remember(key, encoded)
        return encoded

    def _remember(self, key: str, encoded: Encoded) -> None:
        size = sum(t.nbytes for t in encoded.tensors.values())
        if size <= self.room:
            self.memory[key], self.room = encoded, self.room - size

    def put(self, key: str, encoded: Encoded) -> None:
        """Keep an encoding. Where the disk is full nothing is kept any more (`problem` says so) and training goes on."""
        self.made += 1
        if self.folder is None:
            return
        self._remember(key, encoded)
        if self.problem:
            return
        from safetensors.torch import save

        path = self.path(key)
        data = save({k: t.contiguous() for k, t in encoded.tensors.items()}, metadata={"name": encoded.name, "text": json.dumps(encoded.text)})
        temporary = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.replace(temporary, path)
        except OSError as error:
            self.problem = f"Encodings are not kept on disk any more ({error.strerror}); every step encodes."
            if temporary and os.path.exists(temporary):
                os.unlink(temporary)
