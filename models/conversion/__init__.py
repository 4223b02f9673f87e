"""Weights of other projects as weights of our methods, one file per family: a key table, a check and a sentence for the rest."""
