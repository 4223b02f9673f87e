"""Convert released weights (StableVITON, SIFT-VTON, Paint by Example, IMAGDressing, IP-Adapter) to this pack's files.

    python tools/convert.py stableviton.ckpt --models /path/to/ComfyUI/models --name stableviton

Needs torch and safetensors, no ComfyUI. The method goes to <models>/fitting_room, a denoiser with its VAE to <models>/checkpoints,
an image encoder to <models>/clip_vision; nothing is overwritten. Pickles are read as plain weights only, never run.
"""

import argparse
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pack():
    """The pack under the name `fitting_room`, without its root __init__, which is for ComfyUI."""
    if "fitting_room" not in sys.modules:
        module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("fitting_room", None, is_package=True))
        module.__path__ = [str(ROOT)]
        sys.modules["fitting_room"] = module
    from fitting_room.models import conversion

    return conversion


def main(arguments=None) -> int:
    """Returns the exit status: 0 converted, 1 refused (one sentence on stderr)."""
    conversion = pack()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the released file (.ckpt, .safetensors, .pt, .bin)")
    parser.add_argument("--models", type=Path, required=True, help="ComfyUI's models folder")
    parser.add_argument("--name", help="name of the new files (default: the source's)")
    parser.add_argument("--family", default="auto", choices=["auto", *conversion.FAMILIES])
    options = parser.parse_args(arguments)
    try:
        if not options.file.is_file():
            raise ValueError(f"There is no file '{options.file}'; check the path.")
        converted = conversion.convert(options.file, options.family)
        path, companions = converted.write(lambda kind: options.models / kind, options.name or options.file.stem)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(converted.report))
    print("\n".join(f"Wrote {p}" for p in (path, *companions)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
