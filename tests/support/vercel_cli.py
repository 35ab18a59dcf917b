"""The real Vercel: its CLI builds without a login, its Python runtime serves what was built.

The CLI and the cache of npm are in `.local/vercel` and are used again. A build runs in a copy of
its own, as on the platform, in an environment that holds only what that of Vercel would hold.
"""

import base64
import fcntl
import functools
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
import uv
from conftest import ROOT

# The default of `.python-version`, and every other that may be here; the CLI needs 3.12 at least.
DEFAULT_PYTHON = (ROOT / ".python-version").read_text().strip()
OTHER_PYTHONS = ("3.13", "3.14")
PINS = ROOT / "tests" / "vercel"
TOOLS = ROOT / ".local" / "vercel"
# What every function finds in its environment.
PLATFORM = {"PATH": "/usr/bin:/bin", "HOME": "/tmp"}
BUILD_TIMEOUT = 240
START_TIMEOUT = 30


def missing(what: str) -> NoReturn:
    """Skip the test, or the module being read, on a laptop; in CI nothing may be missing."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI must have it", pytrace=False)
    pytest.skip(f"not built by the real Vercel: {what}", allow_module_level=True)


def require_machine() -> None:
    """Skip a module of tests, from its top, if what can't be installed here is missing."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        missing("Node.js with npm is not installed")
    if find_python(DEFAULT_PYTHON) is None:
        missing(f"there is no Python {DEFAULT_PYTHON}")


@functools.cache
def find_python(version: str) -> Path | None:
    """The real binary of a Python on the path, of pyenv's too: its shim would confuse uv."""
    command = [f"python{version}", "-c", "import sys; print(sys._base_executable)"]
    environ = {**os.environ, "PYENV_VERSION": version}
    try:
        found = subprocess.run(
            command, cwd="/", env=environ, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return Path(found.stdout.strip()).resolve()


@functools.cache
def install_cli() -> str | None:
    """Install the pinned CLI unless it is there; says what went wrong."""
    stamp, wanted = TOOLS / "installed", (PINS / "package.json").read_text()
    TOOLS.mkdir(parents=True, exist_ok=True)
    with alone(TOOLS / "lock"):
        _link_uv()
        _fill_uv_cache()
        if stamp.exists() and stamp.read_text() == wanted:
            return None
        shutil.copyfile(PINS / "package.json", TOOLS / "package.json")
        command = [
            "npm",
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]
        done = subprocess.run(command, cwd=TOOLS, env=npm_environ(), capture_output=True, text=True)
        if done.returncode:
            return f"npm could not install its CLI: {done.stderr.strip()[-300:]}"
        stamp.write_text(wanted)
    return None


def _link_uv() -> None:
    """Put uv, without the rest of this environment, into a folder that can go on a path."""
    link = TOOLS / "bin" / "uv"
    link.parent.mkdir(exist_ok=True)
    # Others may be building with it: it is taken away only where it leads somewhere else.
    if not link.exists() or link.resolve() != Path(uv.find_uv_bin()).resolve():
        link.unlink(missing_ok=True)
        link.symlink_to(uv.find_uv_bin())


def _fill_uv_cache() -> None:
    """Put our packages into the cache of uv with their bytecode, which uv links as other files.

    Otherwise every build would compile what it imports of them. Nobody may be building with the
    cache meanwhile, and so this is done for every Python at once.
    """
    pythons = [
        python for version in (DEFAULT_PYTHON, *OTHER_PYTHONS) if (python := find_python(version))
    ]
    requirements, stamp = ROOT / "requirements.txt", TOOLS / "compiled"
    wanted = "\n".join([requirements.read_text(), *map(str, pythons)])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    environ = {**_machine(), "PATH": "/usr/bin:/bin", "UV_CACHE_DIR": str(TOOLS / "uv-cache")}
    for python in pythons:
        with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
            install = f"{TOOLS}/bin/uv", "pip", "install", "--quiet", "--python", str(python)
            target = "--target", folder, "--requirements", str(requirements)
            # If this fails, so do the builds, which tell why.
            if subprocess.run([*install, *target], env=environ, capture_output=True).returncode:
                return
        # Of pip a build loads nothing; uv takes a folder among a wheel's scripts for an error.
        command = (
            str(python),
            "-m",
            "compileall",
            "-q",
            "-x",
            r"/pip/|\.data/",
            f"{TOOLS}/uv-cache/archive-v0",
        )
        subprocess.run(command, capture_output=True)
    stamp.write_text(wanted)


def require_tools(version: str) -> Path:
    """The CLI, uv, and a Python of this version; else the test is left out."""
    if reason := install_cli():
        missing(reason)
    python = find_python(version)
    if python is None:
        missing(f"there is no Python {version}")
    return python


@contextmanager
def alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def npm_environ() -> dict[str, str]:
    return {**_machine(), "PATH": os.environ["PATH"], "npm_config_cache": str(TOOLS / "npm-cache")}


def _machine() -> dict[str, str]:
    """Return what the network of this machine needs, and nothing else."""
    names = ("PIP_", "UV_INDEX", "UV_DEFAULT_INDEX", "NPM_CONFIG_", "NODE_EXTRA_CA", "SSL_CERT")
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    return {
        key: value
        for key, value in os.environ.items()
        if key.upper().startswith((*names, *proxies))
    }


def without_git(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what leads git to another repository, as a hook sets it."""
    return {key: value for key, value in environ.items() if not key.startswith("GIT_")}


def copy_clone(to: Path) -> Path:
    """Copy what a clone of this repository would have, as it is now, and the bytecode of `lib`."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(
        listing, cwd=ROOT, env=without_git(os.environ), capture_output=True, check=True
    )
    names = [name for name in done.stdout.decode().split("\0") if name]
    # The first import in a build would write the same files.
    names += [path.relative_to(ROOT).as_posix() for path in (ROOT / "lib").rglob("*.pyc")]
    for name in names:
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


@dataclass(frozen=True)
class Built:
    """How a build ended, and what it left."""

    root: Path
    python: Path
    exit_code: int
    log: str
    seconds: float

    @property
    def output(self) -> Path:
        return self.root / ".vercel" / "output"

    @property
    def is_deployable(self) -> bool:
        """Whether there is anything that `vercel deploy --prebuilt` would take."""
        needed = [self.output / name for name in ("builds.json", "functions", "static")]
        return all(map(Path.exists, needed)) and "error" not in json.loads(needed[0].read_text())

    @property
    def functions(self) -> set[str]:
        folder = self.output / "functions"
        return {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.func")}

    @property
    def static(self) -> set[str]:
        folder = self.output / "static"
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    def config(self, function: str) -> Any:
        return json.loads(
            (self.output / "functions" / f"{function}.func" / ".vc-config.json").read_text()
        )

    def environ(self, function: str, **variables: str) -> dict[str, str]:
        """What a process of the function has: what the builder set, and the project's variables."""
        return {**self.config(function)["environment"], **variables}

    def files(self, function: str) -> dict[str, Path]:
        """What travels to the platform: the name in the function, and the file that it is."""
        folder = self.output / "functions" / f"{function}.func"
        own = {path.name: path for path in folder.iterdir() if path.name != ".vc-config.json"}
        return own | {
            name: self.root / path for name, path in self.config(function)["filePathMap"].items()
        }

    def size(self, function: str) -> int:
        """In bytes."""
        return sum(path.stat().st_size for path in self.files(function).values())

    def unpack(self, function: str, to: Path) -> Path:
        """Lay the function out as the platform does under /var/task."""
        for name, path in self.files(function).items():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to / name)
        return to


@dataclass(frozen=True)
class Project:
    """The folder of a project, linked to Vercel, with the `variables` of its environments.

    `folder` is the Root Directory of the project, where it is not the root of the repository.
    """

    root: Path
    python: str = DEFAULT_PYTHON
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: str = ""

    def start(self, *, target: str = "production", **environ: str) -> "subprocess.Popen[str]":
        """Start `vercel build` as the leader of its own process group, its output in one pipe."""
        require_tools(self.python)
        link = self.root / ".vercel"
        link.mkdir(exist_ok=True)
        settings = {"rootDirectory": self.folder} if self.folder else {}
        (link / "project.json").write_text(
            json.dumps({"projectId": "prj_x", "orgId": "team_x", "settings": settings})
        )
        lines = "".join(f'{key}="{value}"\n' for key, value in self.variables.items())
        (link / f".env.{target}.local").write_text(lines)
        command = [
            str(TOOLS / "node_modules" / ".bin" / "vercel"),
            "build",
            *(["--prod"] if target == "production" else []),
        ]
        return subprocess.Popen(
            command,
            cwd=self.root,
            env={**build_environ(self.root, self.python), "VERCEL_ENV": target, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def write(self, name: str, text: str) -> None:
        """Write a file of the project's, its folder too."""
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def build(self, *, target: str = "production", **environ: str) -> Built:
        """Build as Vercel does. `environ` goes to the build's process itself."""
        began = time.monotonic()
        process = self.start(target=target, **environ)
        try:
            log, _ = process.communicate(timeout=BUILD_TIMEOUT)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        python = require_tools(self.python)
        return Built(self.root, python, process.returncode, log, time.monotonic() - began)


def build_environ(home: Path, version: str) -> dict[str, str]:
    """Return the environment of the build machine: first Python on the path, uv, and node."""
    python, node = require_tools(version), shutil.which("node")
    assert node is not None
    path = [
        python.parent,
        TOOLS / "bin",
        Path(node).parent,
        Path(node).resolve().parent,
        "/usr/local/bin",
        "/usr/bin",
        "/bin",
    ]
    return {
        **_machine(),
        "PATH": os.pathsep.join(map(str, path)),
        "HOME": str(home / ".vercel" / "home"),
        "CI": "1",
        "VERCEL_TELEMETRY_DISABLED": "1",
        "NEXT_TELEMETRY_DISABLED": "1",
        # The CLI would start a process that asks for its newest version.
        "NO_UPDATE_NOTIFIER": "1",
        "npm_config_cache": str(TOOLS / "npm-cache"),
        "npm_config_prefer_offline": "true",
        "npm_config_update_notifier": "false",
        "UV_CACHE_DIR": str(TOOLS / "uv-cache"),
    }


def compile_loaded(task: Path, python: Path) -> None:
    """Write the bytecode of what an instance loads into a function's folder.

    By its environment an instance writes none, and would compile everything at each cold start.
    """
    others = r"_vendor/(?!psycopg/|vercel_runtime/)"
    command = [str(python), "-m", "compileall", "-q", "-x", others, "."]
    subprocess.run(command, cwd=task, env=PLATFORM, check=True)


@dataclass(frozen=True)
class Answer:
    code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Function:
    """A function as the platform runs it: a process that announces its port and serves HTTP there.

    `boot` is how long the start took according to the runtime, in milliseconds; `imported` is the
    part of our import.
    """

    def __init__(self, folder: Path, python: Path, environ: Mapping[str, str]) -> None:
        self.messages: list[dict[str, Any]] = []
        self.output = ""
        self._sockets = Path(tempfile.mkdtemp(prefix="vc-"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._sockets / "ipc"))
        self._listener.listen(1)
        self._spoken = threading.Event()
        self.process = subprocess.Popen(
            [str(python), "-c", "import vc__handler__python"],
            cwd=folder,
            env={**environ, **PLATFORM, "VERCEL_IPC_PATH": str(self._sockets / "ipc")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._spoken.wait(START_TIMEOUT)
        hello = next(
            (
                message["payload"]
                for message in self.messages
                if message["type"] == "server-started"
            ),
            None,
        )
        if hello is None:
            self.stop()
            raise AssertionError(f"the function did not start: {self.output}{self.messages}")
        self.port, self.boot, self.imported = (
            hello["httpPort"],
            hello["initDuration"],
            hello["userInitDuration"],
        )

    def _read(self) -> None:
        """Read what the runtime says; set `_spoken` once it has started, or never will."""
        self._listener.settimeout(START_TIMEOUT)
        with suppress(OSError), self._listener.accept()[0] as connection:
            rest = b""
            while piece := connection.recv(1 << 16):
                *whole, rest = (rest + piece).split(b"\0")
                self.messages += [json.loads(message) for message in whole]
                if any(
                    message["type"] in ("server-started", "unrecoverable-error")
                    for message in self.messages
                ):
                    self._spoken.set()
        self._spoken.set()

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(
                response.status,
                {key.lower(): value for key, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers)

    @property
    def log(self) -> str:
        """What the function has logged and printed, as the platform's log shows it."""
        logs = (
            message["payload"]["message"] for message in self.messages if message["type"] == "log"
        )
        return "".join(base64.b64decode(text).decode() for text in logs)

    def stop(self) -> None:
        self.process.kill()
        output, _ = self.process.communicate()
        self.output = output.decode()
        self._reader.join()
        self._listener.close()
        shutil.rmtree(self._sockets)

    def __enter__(self) -> "Function":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True)
class Invoked:
    """What the handler answered, and the modules that the process had loaded by then."""

    answers: list[dict[str, Any]]
    modules: set[str]


def invoke(
    folder: Path, python: Path, environ: Mapping[str, str], events: Sequence[dict[str, Any]]
) -> Invoked:
    """Call the handler as AWS Lambda does, in one process, once for each event."""
    code = (
        "import json, sys, vc__handler__python as f\n"
        "events = json.load(sys.stdin)\n"
        "answers = [f.vc_handler({'body': json.dumps(event)}, None) for event in events]\n"
        "print(json.dumps([answers, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [str(python), "-c", code],
        cwd=folder,
        env={**environ, **PLATFORM},
        input=json.dumps(list(events)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answers, modules = json.loads(done.stdout.splitlines()[-1])
    return Invoked(answers, set(modules))
