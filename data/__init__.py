"""Data sets: readers of pictures on disk, and a drawn world that needs none."""
