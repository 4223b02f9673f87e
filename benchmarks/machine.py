"""What a measurement was made on: enough to judge a number, nothing that identifies the computer."""

import os
import platform
from importlib import metadata

PACKAGES = ("torch", "numpy", "opencv-python", "opencv-python-headless", "scipy", "kornia")


def describe(device: str = "cpu") -> dict:
    """CPU model, cores, memory, versions and the device's name; no host name, user name or path."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version for name in PACKAGES if (version := _version(name))},
        "device": _device(device),
    }


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, OSError, ValueError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return torch.cuda.get_device_name(device)
