"""Samples of a data set for the training loop: read, moved, recoloured when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import torch

from ..preprocess.pictures import picture_size
from .augment import augment, check_settings
from .buckets import bucket_of
from .check import _missing
from .pairs import Pairs
from .read import DataError, read_sample
from .sample import Sample
from .split import shared_pictures


class PairSource:
    """A data set at one size.

    Args:
        pairs: the files.
        height, width: of the pictures, multiples of 8.
        settings: augmentation; see `data.augment`.
        needs: what every sample must have (`data.check.NEEDS`).
        matches: one per sample in place of the data set's own, or ().
        buckets: a canvas of each picture's own proportions, of about the same area (`data.buckets`), instead of height x width for all.

    Raises:
        ValueError: an augmentation that is not known, or another number of matches than of samples.
    """

    def __init__(
        self, pairs: Pairs, height: int, width: int, settings: Mapping[str, float] | None = None, needs: tuple[str, ...] = (), matches: tuple = (),
        buckets: bool = False,
    ):
        self.pairs, self.height, self.width, self.settings, self.needs = pairs, height, width, dict(settings or {}), needs
        check_settings(self.settings)
        if matches and len(matches) != len(pairs):
            raise ValueError(f"Matches of {len(matches)} pairs came for a data set of {len(pairs)}; give one per pair in its order, or disconnect them to use the data set's own files.")
        self.matches = matches
        self.sizes = [bucket_of(self._proportions(r), height, width) for r in pairs] if buckets else [(height, width)] * len(pairs)

    @staticmethod
    def _proportions(record) -> tuple[int, int]:
        try:
            return picture_size(record.person)
        except OSError as error:
            raise DataError(str(error)) from None

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """Of a sample."""
        return self.pairs[index].name

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) at which a sample is read."""
        return self.sizes[index]

    def groups(self) -> list[int]:
        """Per sample the number of those that share a picture with it."""
        return shared_pictures(self.pairs)

    def sample(self, index: int, generator: torch.Generator | None = None) -> Sample:
        """A sample, augmented where a generator is given.

        Raises:
            DataError: names the sample or the file.
        """
        record = self.pairs[index]
        try:
            sample = read_sample(record, *self.sizes[index], self.matches[index] if self.matches else None)
        except OSError as error:
            raise DataError(f"{record.name}: {error}") from None
        if missing := [m for need in self.needs if (m := _missing(sample, need))]:
            raise DataError(f"The sample '{record.name}' cannot be trained on: {'; '.join(missing)}.")
        return sample if generator is None else augment(sample, self.settings, generator)

    def key(self, index: int) -> str:
        """What a kept encoding of the sample depends on: its files as they are now, texts and size."""
        record = self.pairs[index]
        files = [(str(p), *self._stat(p)) for p in record.files()]
        slots = [i.slot for i in record.things()]
        given = self.matches[index].points.tobytes() if self.matches else b""
        return repr((record.name, given, record.category, record.scheme, str(record.caption), slots, files, *self.sizes[index]))

    @staticmethod
    def _stat(path) -> tuple[int, int]:
        try:
            stat = path.stat()
        except OSError:
            raise DataError(f"{path.parent.name}/{path.name} is missing; it was there when the data set was listed.") from None
        return stat.st_size, stat.st_mtime_ns

    def fingerprint(self) -> str:
        """Which data set this is."""
        given = blake2b(b"".join(m.points.tobytes() for m in self.matches), digest_size=8).hexdigest() if self.matches else ""
        return self.pairs.fingerprint() + given
