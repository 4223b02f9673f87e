"""A thousand prompts queued at once on one ComfyUI: is one lost, and does the server's memory grow?

    python benchmarks/headless.py [--prompts 1000] [--minutes 60]

Every prompt is the bundled `dress_one_garment` at its size with one step and a seed of its own, so that each is sampled, decoded and
saved. All are queued before the first is fetched; each result is downloaded, and must differ from every other. Memory is the resident
set of the server's process, after a warm-up of fifty prompts, in tenths of the run; the growth is that of the last tenth over the first.
No time is reported: what is counted is prompts. Results: benchmarks/results/headless.json.
"""

import argparse
import hashlib
import io
import json
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]

import bundled  # noqa: E402
import machine  # noqa: E402
import pack  # noqa: E402

WARM_UP = 50


def garment() -> bytes:
    """A picture of a drawn garment."""
    import torch
    from fitting_room.data.synthetic import draw_picture
    from PIL import Image

    data = io.BytesIO()
    picture = torch.as_tensor(draw_picture("upper garment", 7, 128, 96).image)
    Image.fromarray((picture * 255).round().byte().numpy()).save(data, "PNG")
    return data.getvalue()


def resident_mib(process) -> float:
    """Memory of a process and its children that is in RAM."""
    import psutil

    root = psutil.Process(process.pid)
    return sum(p.memory_info().rss for p in [root, *root.children(recursive=True)]) / 2**20


def queue(client, filled, seeds) -> list[str]:
    """Queue one prompt per seed; returns their ids."""
    prompt, ids = filled.upload(client), []
    for seed in seeds:
        prompt["sampler"]["inputs"]["seed"] = seed
        ids.append(client.queue(prompt, str(uuid.uuid4())))
    return ids


def fetch(client, prompt_id: str, timeout: float) -> str:
    """Wait for a prompt and return the hash of its picture."""
    from PIL import Image

    history = client.wait(prompt_id, timeout=timeout)
    (picture,), _ = client.results(history)
    data = client.download(picture)
    client.forget(prompt_id)
    return hashlib.sha256(Image.open(io.BytesIO(data)).tobytes()).hexdigest()


def measure(server, prompts: int, minutes: float) -> dict:
    """Run them; stops after that many minutes and says how far it came."""
    client, end = server.client, time.monotonic() + 60 * minutes
    filled = bundled.load("dress_one_garment").fill({"upper_image": garment(), "steps": 1})
    for prompt_id in queue(client, filled, range(10**6, 10**6 + WARM_UP)):
        fetch(client, prompt_id, 3600)
    ids = queue(client, filled, range(prompts))
    seen, memory = set(), [resident_mib(server.process)]
    for number, prompt_id in enumerate(ids, 1):
        try:
            seen.add(fetch(client, prompt_id, max(end - time.monotonic(), 1)))
        except TimeoutError:
            client.post("/queue", {"clear": True})
            client.interrupt()
            break
        memory.append(resident_mib(server.process))
        if number % 50 == 0:
            print(f"{number} of {prompts}, {memory[-1]:.0f} MiB", file=sys.stderr, flush=True)
    done = len(memory) - 1
    part = max(len(memory) // 10, 1)
    tenths = [statistics.mean(memory[i:i + part]) for i in range(0, part * 10, part) if memory[i:i + part]]
    return {"queued_at_once": prompts, "done": done, "distinct_pictures": len(seen), "lost": 0 if done == prompts else None,
            "stopped_by_time_limit": done < prompts, "resident_mib_by_tenth": [round(m, 1) for m in tenths],
            "growth_percent": round(100 * (tenths[-1] / tenths[0] - 1), 2), "left_in_queue": len(client.get("/queue")["queue_pending"])}


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "headless.json")
    options = parser.parse_args()
    made, code = pack.enter(__file__, *sys.argv[1:])
    if made is None:
        return code
    pack.load()
    from server import Server

    with tempfile.TemporaryDirectory() as output, Server(made.python, made.comfyui, made.base_directory, output_directory=output, startup_s=1200) as server:
        result = {"command": "python benchmarks/headless.py", "machine": machine.describe(), **measure(server, options.prompts, options.minutes)}
    text = json.dumps(result, indent=2) + "\n"
    options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
