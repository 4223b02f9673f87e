"""One file per paper; `parts` holds what the papers share."""
