"""One module per area; each lists its workflows in WORKFLOWS."""
