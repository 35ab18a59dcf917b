"""The steps of action.yml, run as GitHub's runner runs them.

https://docs.github.com/actions/reference/workflows-and-actions/metadata-syntax
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from conftest import ROOT

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
_OPERAND = re.compile(r"[a-z_]+(?:\.[a-zA-Z_-]+)+")


@dataclass
class Job:
    """A job that uses the Action in a workspace: its inputs, its variables, what its steps said."""

    folder: Path
    environ: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    github: Mapping[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def summary(self) -> str:
        path = self.folder / "summary-comment"
        return path.read_text() if path.exists() else ""

    def run(self) -> int:
        """Run every step; the exit code of the first that fails, or 0."""
        for step in STEPS:
            if code := self.step(step):
                return code
        return 0

    def step(self, step: Mapping[str, Any]) -> int:
        if "if" in step and not self._value(f"({step['if']})"):
            return 0
        name = step.get("id", step["name"])
        output = self.folder / f"output-{name}"
        output.touch()
        script = self.folder / f"{name}.sh"
        script.write_text(step["run"])
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.workspace,
            env={
                **self.environ,
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(self.folder / f"summary-{name}"),
                **{key: self.text(value) for key, value in step.get("env", {}).items()},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=110,
        )
        self.logs[name] = done.stdout
        lines = (line.partition("=") for line in output.read_text().splitlines())
        self.outputs.setdefault(name, {}).update({key: value for key, _, value in lines})
        return done.returncode

    def text(self, template: str) -> str:
        return _EXPRESSION.sub(lambda match: str(self._value(match[1])), str(template))

    def _value(self, expression: str) -> Any:
        code = _OPERAND.sub(lambda match: repr(self._operand(match[0])), expression)
        code = code.replace("&&", " and ").replace("||", " or ").strip()
        return eval(code, {})

    def _operand(self, name: str) -> str:
        where, _, key = name.partition(".")
        if where == "inputs":
            default = ACTION["inputs"][key].get("default", "")
            return self.inputs.get(key, self.text(default))
        if where == "github":
            return self.github.get(key, "")
        step, _, output = key.partition(".outputs.")
        return self.outputs.get(step, {}).get(output, "")


def step(name: str) -> Mapping[str, Any]:
    (found,) = (each for each in STEPS if name in (each.get("id"), each["name"]))
    return found
