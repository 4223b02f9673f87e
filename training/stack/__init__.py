"""The bundled small stack, trained from nothing on the drawn world: autoencoder, text encoder and denoiser of SD1.5's shape.

Each part is a file here; `tools/train_demo.py` runs them one after the other, and then the methods' recipes (`training/recipes/demo_*.toml`).
"""
