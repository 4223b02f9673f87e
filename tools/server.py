"""A headless ComfyUI on the loopback interface, for tests, demo and tools.

    with Server(python, comfyui, base_directory) as server:
        name = server.client.upload("person.png")
        prompt_id = server.client.queue(prompt)                       # API-format JSON
        history = server.client.wait(prompt_id, progress=print)       # print(node_id, step, steps)
        for image in server.client.images(history):
            data = server.client.download(image)

Runs inside the environment of tools/setup.py (aiohttp, which ComfyUI requires, carries the websocket).
"""

import atexit
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

if __package__:
    from .client import Client, PromptError, PromptInterrupted, ServerError
else:
    from client import Client, PromptError, PromptInterrupted, ServerError

__all__ = ["Client", "PromptError", "PromptInterrupted", "Server", "ServerError"]
PACK = "fitting-room"
# Runs main.py as if it had been started itself, and ends the process when our end of its stdin closes: even a parent that is
# killed leaves no server (and no scratch folder, the first argument) behind, on any platform.
LAUNCH = """
import os, runpy, shutil, sys, threading
def watch(scratch):
    os.read(0, 1)
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)
threading.Thread(target=watch, args=(sys.argv[1],), daemon=True).start()
sys.argv = sys.argv[2:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Server:
    """One ComfyUI process on a free port of the loopback interface, with this pack and no other.

    python, comfyui, base_directory: as tools/setup.py returns them. cpu: None asks torch whether there is an accelerator.
    output_directory, input_directory: instead of those of the base directory. arguments: more flags for ComfyUI, such as
    "--novram". startup_s: how long it may take to answer first. scratch_directory: where its temporary folder is made (the
    system's place).
    """

    def __init__(self, python, comfyui, base_directory, *, output_directory=None, input_directory=None, cpu=None, arguments=(),
                 pack=PACK, startup_s=300.0, scratch_directory=None):
        self.python, self.comfyui, self.base_directory = str(python), Path(comfyui), Path(base_directory)
        self.port, self.startup_s, self.process = _free_port(), startup_s, None
        self.scratch, self.scratch_directory = None, scratch_directory
        self._flags = self._choose_flags(pack, _without_accelerator() if cpu is None else cpu, output_directory, input_directory)
        self._flags += [str(argument) for argument in arguments]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = Client(self.url, check=self.check)

    def _choose_flags(self, pack, cpu, output_directory, input_directory) -> list:
        known = (self.comfyui / "comfy" / "cli_args.py").read_text(encoding="utf-8")
        flags = ["--listen", "127.0.0.1", "--port", str(self.port), "--base-directory", str(self.base_directory), "--disable-auto-launch",
                 "--disable-all-custom-nodes", "--whitelist-custom-nodes", pack]
        flags += ["--cpu", "--use-pytorch-cross-attention"] if cpu else []  # the default attention on a CPU is three times slower
        flags += ["--output-directory", str(output_directory)] if output_directory else []
        flags += ["--input-directory", str(input_directory)] if input_directory else []
        for name, *value in (("--database-url", "sqlite:///:memory:"), ("--disable-api-nodes",)):  # not in every version
            flags += [name, *value] if f'"{name}"' in known else []
        return flags

    def start(self) -> "Server":
        """Start the process and wait until it answers; ServerError with the end of its log when it does not."""
        self.scratch = Path(tempfile.mkdtemp(prefix="fitting-room-server-", dir=self.scratch_directory))  # ComfyUI empties its temp folder, so each has its own
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
        command = [self.python, "-c", LAUNCH, str(self.scratch), str(self.comfyui / "main.py"), *self._flags,
                   "--temp-directory", str(self.scratch)]
        atexit.register(self.stop)
        try:
            with open(self.log_path, "wb") as log:
                self.process = subprocess.Popen(command, cwd=self.comfyui, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                                                env={**environment, "PYTHONUNBUFFERED": "1"})
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + self.startup_s
        while True:
            self.check()
            try:
                self.client.get("/system_stats", timeout=5)
                return
            except ServerError:
                if time.monotonic() > end:
                    raise ServerError(f"ComfyUI did not answer within {self.startup_s:g} s; its log ends with:\n{self.log()}") from None
            time.sleep(0.1)

    @property
    def log_path(self) -> Path:
        """The file that takes what the process prints; removed by stop()."""
        return self.scratch / "server.log"

    def log(self, lines: int = 40) -> str:
        """The last lines of what the process printed."""
        try:
            text = re.sub(r"\x1b\[[0-9;]*m", "", self.log_path.read_text(encoding="utf-8", errors="replace"))  # colours
            return "\n".join(text.splitlines()[-lines:])
        except (OSError, TypeError):
            return "(no log)"

    def check(self) -> None:
        """Raise ServerError when the process has ended."""
        if self.process is None:
            raise ServerError("ComfyUI is not running; use `with Server(...)` or call start()")
        if self.process.poll() is not None:
            raise ServerError(f"ComfyUI ended with exit code {self.process.returncode}; its log ends with:\n{self.log()}")

    def stop(self) -> None:
        """End the process and remove its scratch folder; safe to call at any time, and more than once."""
        atexit.unregister(self.stop)
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdin.close()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch = None

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *exc) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _without_accelerator() -> bool:
    import torch

    xpu = getattr(torch, "xpu", None)
    return not (torch.cuda.is_available() or torch.backends.mps.is_available() or (xpu is not None and xpu.is_available()))
