"""What the methods share: sites, patches, attention, spatial encoders, tokens, FiLM, channels."""
