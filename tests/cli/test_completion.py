"""Completion in a real bash, zsh and fish, in a folder of files with hostile names."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import ROOT
from pseudo_terminal import terminal

from lib.cli.completion import completion_script
from lib.cli.options import make_parser

SHELLS = ("bash", "zsh", "fish")
VERSIONS = ["000-start", "0041-add-invoices"]
HOSTILE = ("$(touch made)", "`touch made`", "'; touch made; '", "a\nb", "a b", "*", "A", "-é", "~")


def require(shell: str) -> None:
    if shutil.which(shell) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{shell} is missing, and CI must have it")
        pytest.skip(f"{shell} is not installed: apt-get install {shell}")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a blank and a quote in its path, and files that no version should name."""
    root = tmp_path / "my app's"
    for folder in ("migrations", "more/files"):
        (root / folder).mkdir(parents=True)
    for name in ("migrate", "000.sql", "readme.sql", "migrations/005-no.txt"):
        (root / name).touch()
    for version in (*VERSIONS, *(f"003-{name}" for name in HOSTILE)):
        (root / "migrations" / f"{version}.sql").touch()
    (root / "more" / "files" / "007-more.sql").touch()
    return root


def run(
    *command: str, cwd: Path, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    home = {"PATH": os.environ["PATH"], "HOME": str(cwd.parent), "LANG": "C.UTF-8"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**home, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done


def in_bash(
    cwd: Path, *words: str, before: str = "", environ: Mapping[str, str] | None = None
) -> list[str]:
    """What bash offers for the last of the words, as it calls the function for a command."""
    code = f"""{completion_script("bash")}
{before}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
set -u
_migrate "$1" "${{@: -1}}" "${{@: -2:1}}"
if [ ${{#COMPREPLY[@]}} != 0 ]; then printf '%s\\n' "${{COMPREPLY[@]}}"; fi"""
    return run("bash", "-c", code, "bash", *words, cwd=cwd, environ=environ).stdout.splitlines()


def in_fish(cwd: Path, line: str, *, before: str = "") -> list[str]:
    require("fish")
    code = f"{completion_script('fish')}\n{before}\ncomplete -C $argv[1]"
    environ = {"XDG_CONFIG_HOME": str(cwd), "XDG_DATA_HOME": str(cwd.parent)}
    done = run("fish", "-c", code, line, cwd=cwd, environ=environ)
    return [each.partition("\t")[0] for each in done.stdout.splitlines()]


def in_zsh(cwd: Path, *lines: str, before: str = "") -> list[str]:
    """The lines after the Tab key was pressed once behind each of them."""
    require("zsh")
    home = cwd.parent
    (home / "_migrate").write_text(completion_script("zsh"))
    (home / ".zshrc").write_text(f"""
PROMPT='ready> '
unsetopt beep
fpath=({shlex.quote(str(home))} $fpath)
autoload -Uz compinit && compinit -u -D
{before}
keep() {{ print -r -- $BUFFER >>../lines; BUFFER=; zle accept-line }}
zle -N keep
bindkey '^G' keep
""")
    environ = {"PATH": os.environ["PATH"], "ZDOTDIR": str(home), "TERM": "xterm", "LANG": "C.UTF-8"}
    with terminal(100) as shown:
        device = shown.stream.fileno()
        zsh = subprocess.Popen(
            ["zsh", "-o", "no_global_rcs", "-i"],
            cwd=cwd,
            env=environ,
            stdin=device,
            stdout=device,
            stderr=device,
            start_new_session=True,
        )
        shown.shown(until="ready> ")
        for line in lines:
            os.write(shown.controller, f"{line}\t\a".encode())
            shown.shown(until="ready> ")
        os.write(shown.controller, b"exit\n")
        shown.shown(until="exit")
        zsh.wait(60)
    return (home / "lines").read_text().splitlines()


def expected_options(name: str) -> set[str]:
    return set(make_parser().commands[name]._option_string_actions)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_with_nothing_but_python_and_the_shell_can_read_it(
    shell: str, tmp_path: Path
) -> None:
    require(shell)
    command = [sys.executable, "-I", "-S", "-c"]
    # Without the packages of the environment.
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); "
        "runpy.run_module('lib', run_name='__main__')"
    )
    done = run(*command, code, "completion", shell, cwd=tmp_path)
    assert done.stdout == completion_script(shell)
    assert "Save this as the file" in done.stdout.partition("\n\n")[0]
    (tmp_path / "script").write_text(done.stdout)
    run(shell, "-n", "script", cwd=tmp_path)


class TestBash:
    def test_every_command_is_offered_with_its_aliases(self, project: Path) -> None:
        offered = in_bash(project, "./migrate", "")
        assert {each for each in offered if not each.startswith("-")} == {*make_parser().commands}
        assert in_bash(project, "./migrate", "--v") == ["--version"]

    def test_every_option_is_offered(self, project: Path) -> None:
        parsers = make_parser().commands
        for name in parsers:
            offered = set(in_bash(project, "./migrate", name, "-"))
            assert offered == (set() if parsers[name].passes_on else expected_options(name)), name

    @pytest.mark.parametrize(
        ("words", "offered"),
        [
            (["up", "--source", ""], ["build", "cli"]),
            (["up", "--source", "=", "b"], ["build"]),
            (["up", "--source", "="], ["build", "cli"]),
            # Where = is not in COMP_WORDBREAKS.
            (["up", "--source=b"], ["--source=build"]),
            (["psql", ""], []),
            (["psql", "status", "--"], []),
            (["create", "status", "--f"], ["--from"]),
            (["create", "status", ""], []),
            (["stop", "--j"], []),
            (["--debug", "completion", ""], ["bash", "zsh", "fish"]),
            (["serve", "--port", ""], []),
            (["baseline", "004", "--f"], ["--forget"]),
            (["resolve", "004", "--took-effect", "--j"], ["--json"]),
            (["nonsense", ""], []),
            (["*", ""], []),
        ],
    )
    def test_what_is_offered(self, project: Path, words: list[str], offered: list[str]) -> None:
        assert in_bash(project, "./migrate", *words) == offered

    @pytest.mark.parametrize(
        "words",
        [
            ["baseline"],
            ["baseline", "--json"],
            ["baseline", "--forget"],
            ["baseline", "--forget", "000-start"],
            ["resolve"],
            ["resolve", "004", "--renamed-from"],
            ["up", "--to"],
            ["plan", "--json", "--to", "="],
            ["reset", "--to"],
        ],
    )
    def test_versions_are_the_names_of_the_files(self, project: Path, words: list[str]) -> None:
        assert in_bash(project, "./migrate", *words, "") == VERSIONS
        assert in_bash(project, "./migrate", *words, "004") == VERSIONS[1:]
        assert not list(project.rglob("made"))

    @pytest.mark.parametrize(
        "name",
        [
            "../migrate",
            r"../../my\ app\'s/migrate",
            r"~/my\ app\'s/migrate",
            "link",
        ],
    )
    def test_they_are_those_of_the_project_of_the_script(self, project: Path, name: str) -> None:
        (project.parent / "link").symlink_to("my app's/migrate")
        name = str(project.parent / "link") if name == "link" else name
        environ = {"HOME": str(project.parent)}
        assert in_bash(project / "more", name, "resolve", "", environ=environ) == VERSIONS

    @pytest.mark.parametrize("name", ["migrate", "m"])
    def test_an_alias_or_a_link_on_path_leads_there(self, project: Path, name: str) -> None:
        app = project.rename(project.parent / "app")
        alias = f"alias {name}={app}/migrate"
        assert in_bash(app / "more", name, "resolve", "", before=alias) == VERSIONS
        assert in_bash(app / "more", name, "resolve", "") == []
        (app / "more" / name).symlink_to("../migrate")
        (app / "migrate").chmod(0o755)
        environ = {"PATH": f"{app}/more:{os.environ['PATH']}"}
        assert in_bash(app / "more", name, "resolve", "", environ=environ) == VERSIONS

    @pytest.mark.parametrize("folder", ["more/files", "absolute"])
    def test_the_folder_is_that_which_the_variable_names(self, project: Path, folder: str) -> None:
        folder = str(project / "more/files") if folder == "absolute" else folder
        environ = {"MIGRATIONS_DIR": folder}
        assert in_bash(project, "./migrate", "resolve", "", environ=environ) == ["007-more"]

    def test_links_in_a_circle_lead_nowhere(self, project: Path) -> None:
        (project / "circle").symlink_to("circle")
        assert in_bash(project, "./circle", "resolve", "") == []

    def test_a_folder_without_files_offers_nothing(self, project: Path) -> None:
        shutil.rmtree(project / "migrations")
        assert in_bash(project, "./migrate", "resolve", "") == []

    def test_it_is_registered_for_the_script_in_every_folder(self, project: Path) -> None:
        shown = run("bash", "-c", f"{completion_script('bash')}\ncomplete -p", cwd=project).stdout
        # By its last component, bash finds it for ./migrate, and for an absolute path.
        assert shown == "complete -o default -F _migrate migrate\n"


def test_zsh_completes_the_same(project: Path) -> None:
    (project / "migrations" / "000-start.sql").unlink()
    version = VERSIONS[1]
    lines = {
        "./migrate hist": "./migrate history ",
        "./migrate --vers": "./migrate --version ",
        "./migrate completion fi": "./migrate completion fish ",
        "./migrate up --source b": "./migrate up --source build ",
        "./migrate up --source=b": "./migrate up --source=build ",
        "./migrate create status --fr": "./migrate create status --from=",
        "./migrate resolve 1 --did-not --fr": "./migrate resolve 1 --did-not --fr",
        "./migrate psql --js": "./migrate psql --js",
        "./migrate psql more/f": "./migrate psql more/files/",
        "./migrate install mo": "./migrate install more/",
        "./migrate resolve 0": f"./migrate resolve {version} ",
        "./migrate reset --to 0": f"./migrate reset --to {version} ",
        "./migrate baseline --forget 000-a 0": f"./migrate baseline --forget 000-a {version} ",
        r"../my\ app\'s/migrate plan --to=0": rf"../my\ app\'s/migrate plan --to={version} ",
        "m plan --to 0": f"m plan --to {version} ",
    }
    before = r"alias m=../my\\\ app\\\'s/migrate"
    assert [each.rstrip() for each in in_zsh(project, *lines, before=before)] == [
        each.rstrip() for each in lines.values()
    ]
    assert not list(project.rglob("made"))


def test_zsh_registers_the_script_that_is_read_by_source(project: Path) -> None:
    (project / "script").write_text(completion_script("zsh"))
    before = "compdef -d migrate; unfunction _migrate; source ./script"
    assert in_zsh(project, "./migrate hist", before=before) == ["./migrate history "]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("./migrate st", ["start", "status", "stop"]),
        ("./migrate --v", ["--version"]),
        ("./migrate up --source b", ["build"]),
        ("./migrate completion ", ["bash", "fish", "zsh"]),
        ("./migrate create status --fr", ["--from"]),
        ("./migrate create --from mo", ["more/"]),
        ("./migrate install mo", ["more/"]),
        ("./migrate serve --port ", []),
        ("./migrate psql --js", []),
        ("./migrate psql mo", ["more/"]),
        ("./migrate resolve ", VERSIONS),
        ("./migrate baseline --forget ", VERSIONS),
        (r"../my\ app\'s/migrate reset --to ", VERSIONS),
        (r"~/my\ app\'s/migrate up --to ", VERSIONS),
    ],
)
def test_fish_completes_the_same(project: Path, line: str, offered: list[str]) -> None:
    assert in_fish(project, line) == offered
    assert not list(project.rglob("made"))


def test_fish_knows_an_alias(project: Path) -> None:
    app = project.rename(project.parent / "app")
    alias = f"alias migrate={app}/migrate; alias m={app}/migrate"
    for name in ("migrate", "m"):
        assert in_fish(app / "more", f"{name} resolve ", before=alias) == VERSIONS
