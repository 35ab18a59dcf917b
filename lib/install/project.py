"""A project as it is found, before anything is decided: its site, its tools, what is in the way."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .bundle import MIGRATIONS, PACKAGE, Names
from .vercel_json import Site

# By package of npm: the preset of Vercel. Those that build on others come first (the order is that
# of `@vercel/frameworks`, as of Vercel's CLI 64.0.2).
_PRESETS = {
    "next": "nextjs",
    "@remix-run/dev": "remix",
    "@react-router/dev": "react-router",
    "@tanstack/react-start": "tanstack-start",
    "@tanstack/solid-start": "tanstack-start",
    "astro": "astro",
    "@sveltejs/kit": "sveltekit-1",
    "nuxt": "nuxtjs",
    "@solidjs/start": "solidstart-1",
    "@redwoodjs/core": "redwoodjs",
    "gatsby": "gatsby",
    "@angular/cli": "angular",
    "@docusaurus/core": "docusaurus-2",
    "@11ty/eleventy": "eleventy",
    "vitepress": "vitepress",
}
# Without a preset, Vercel serves the folder that the build fills.
_OUTPUTS = {"vite": "dist", "react-scripts": "build", "@vue/cli-service": "dist", "parcel": "dist"}
# Of a server, in place of a site.
_ENTRYPOINTS = ("app", "index", "server", "main", "wsgi", "asgi")
_SERVERS = {"express", "hono", "fastify", "@nestjs/core", "elysia", "h3", "koa", "nitro"}
_LOCK_FILES = {
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "bun.lock": "bun",
    "bun.lockb": "bun",
    "package-lock.json": "npm",
}
# The scripts of package.json, in the order in which Vercel looks for one that builds.
_SCRIPTS = ("vercel-build", "now-build", "build")
_PROGRAMS = (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts")
# The other tools, by what they leave in a project: its name, and what the page about it is called.
TOOLS = {
    "Drizzle": ("drizzle", ("drizzle.config.*", "drizzle")),
    "Prisma": ("prisma", ("prisma", "prisma.config.*")),
    "Supabase": ("supabase", ("supabase",)),
    "Knex": ("programs", ("knexfile.*",)),
    "Kysely": ("programs", ("kysely.config.*", ".config/kysely.config.*")),
}
_MIGRATION = re.compile(r"[0-9]{3,}-[a-z0-9]+(?:-[a-z0-9]+)*\.sql")


@dataclass(frozen=True)
class Project:
    """What the project is, for people (`found`) and for vercel.json (`site`)."""

    folder: Path
    site: Site
    found: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    # By name: the page about switching from it.
    tools: Mapping[str, str] = field(default_factory=dict)


def open_folder(name: str, bundle: Path) -> Path:
    """Return the folder of a project; ConfigurationError if there is none, or it is the bundle."""
    folder = Path(name)
    if not folder.is_dir():
        what = "is a file, and not a folder" if folder.exists() else "does not exist"
        raise ConfigurationError(f"{name} {what}: name the root of a project.")
    folder = folder.resolve()
    if folder == bundle.resolve():
        raise ConfigurationError(f"{name} is the bundle itself: name the root of a project.")
    if ".git" in folder.parts:
        raise ConfigurationError(f"{name} belongs to git: name the root of a project.")
    return folder


def program(folder: Path) -> Path | None:
    """Return the program that configures Vercel in place of vercel.json, if there is one."""
    found = (path for path in sorted(folder.glob("vercel.*")) if path.suffix in _PROGRAMS)
    return next(found, None)


def inspect(folder: Path, top: Path | None) -> Project:
    """Look at a project; ConfigurationError if its kind cannot be told."""
    package = _package_json(folder / "package.json")
    tools = {name: page for name, (page, patterns) in TOOLS.items() if _any_of(folder, patterns)}
    site, found, notes = _site(folder, package, _manager(folder, top, package or {}))
    used = (f"{', '.join(tools)} (stays as it is)",) if tools else ()
    return Project(folder, site, (*found, *used), tuple(notes), tools)


def _site(
    folder: Path, package: Mapping[str, Any] | None, manager: str
) -> tuple[Site, list[str], list[str]]:
    dependencies = _dependencies(package or {})
    preset = next((slug for name, slug in _PRESETS.items() if name in dependencies), None)
    if preset is None and _any_of(folder, ("next.config.*",)):
        preset = "nextjs"
    scripts = (package or {}).get("scripts", {})
    script = next((name for name in _SCRIPTS if name in scripts), None)
    command = f"{manager} run {script or 'build'}"
    if preset:
        name = "Next.js" if preset == "nextjs" else f"Vercel's preset {preset}"
        missing = f"package.json has no script `build`, which `{command}` needs: add one."
        return Site(preset, command), [f"{name}, built by {command}"], [] if script else [missing]
    is_root = _is_workspace_root(folder, package)
    if is_root and not dependencies & _OUTPUTS.keys() and not (folder / "vercel.json").is_file():
        _refuse_root(folder, may_be_built=script is not None)
    if script:
        return _built_by_script(folder, dependencies, command)
    return _in_frontend(folder)


def find_application(folder: Path) -> str | None:
    """Name what makes Vercel take the project for a server in Python or JavaScript, if it does.

    The entrypoints are those of Vercel's page on Python, the packages those of its presets.
    """
    dependencies = _dependencies(_package_json(folder / "package.json") or {})
    # A site may have one for development.
    if dependencies & {*_OUTPUTS, *_PRESETS}:
        return None
    names = [f"{place}{name}.py" for place in ("", "src/", "app/") for name in _ENTRYPOINTS]
    found = next((name for name in ("manage.py", *names) if (folder / name).is_file()), None)
    servers = dependencies & _SERVERS
    return found or (f"package.json ({min(servers)})" if servers else None)


def _built_by_script(
    folder: Path, dependencies: set[str], command: str
) -> tuple[Site, list[str], list[str]]:
    output = _output(folder, dependencies)
    tool = next((name for name in _OUTPUTS if name in dependencies), None)
    found = [f"{tool or 'package.json'}, built by {command} into {output}/"]
    # Of a tool that is not known, the folder is a guess.
    notes = [
        f"vercel.json: see that outputDirectory, {output}, is the folder that `{command}` fills."
    ]
    return Site(None, command, output), found, [] if tool else notes


def _in_frontend(folder: Path) -> tuple[Site, list[str], list[str]]:
    frontend = folder / "frontend"
    package = _package_json(frontend / "package.json")
    if package is None:
        return Site(output="public"), ["no frontend that has to be built"], []
    dependencies = _dependencies(package)
    if any(name in dependencies for name in _PRESETS):
        raise ConfigurationError(
            "frontend/ uses a framework that has to be the Root Directory of the project in "
            "Vercel: install into that folder."
        )
    manager = _manager(frontend, None, package)
    output = f"frontend/{_output(frontend, dependencies)}"
    # build.sh knows npm.
    build = None if manager == "npm" else f"cd frontend && {manager} install && {manager} run build"
    how = f"a site in frontend/, built by {manager} into {output}/"
    return Site(None, build, output), [how], []


def _output(folder: Path, dependencies: set[str]) -> str:
    output = next((out for name, out in _OUTPUTS.items() if name in dependencies), "dist")
    for path in sorted(folder.glob("vite.config.*")):
        text = path.read_text(encoding="utf-8", errors="replace")
        named = re.search(r"\boutDir:\s*[\"'](?:\./)?([\w.-]+)/?[\"']", text)
        output = named[1] if named else output
    return output


def _manager(folder: Path, top: Path | None, package: Mapping[str, Any]) -> str:
    """Return the package manager, by package.json or by the nearest lock file."""
    named = str(package.get("packageManager", "")).partition("@")[0]
    if named in _LOCK_FILES.values():
        return named
    # In a monorepo the lock file is at the root.
    for place in (
        folder,
        *(parent for parent in folder.parents if top and parent.is_relative_to(top)),
    ):
        for name, manager in _LOCK_FILES.items():
            if (place / name).is_file():
                return manager
    return "npm"


def _package_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as fault:
        raise ConfigurationError(f"{path} cannot be read: {fault}; correct it first.") from None
    if not isinstance(document, dict) or not isinstance(document.get("scripts", {}), dict):
        raise ConfigurationError(f"{path} is not a JSON object with scripts; correct it first.")
    return document


def _dependencies(package: Mapping[str, Any]) -> set[str]:
    tables = (package.get("dependencies"), package.get("devDependencies"))
    return {name for table in tables if isinstance(table, dict) for name in table}


def _is_workspace_root(folder: Path, package: Mapping[str, Any] | None) -> bool:
    return (folder / "pnpm-workspace.yaml").is_file() or bool((package or {}).get("workspaces"))


def _refuse_root(folder: Path, *, may_be_built: bool) -> None:
    """Raise ConfigurationError, unless the root is all that could be built."""
    candidates = [
        path.parent.relative_to(folder).as_posix()
        for path in sorted([*folder.glob("*/package.json"), *folder.glob("*/*/package.json")])
        if "node_modules" not in path.parts
        if _dependencies(_package_json(path) or {}) & {*_PRESETS, *_OUTPUTS}
        or (path.parent / "vercel.json").is_file()
    ]
    if may_be_built and not candidates:
        return
    which = f", such as {', '.join(candidates[:5])}" if candidates else ""
    raise ConfigurationError(
        "This is the root of a monorepo. The bundle belongs in the folder that is the Root "
        f"Directory of a project in Vercel: install into that folder{which}."
    )


# --- What is in the way ---


def obstacles(
    folder: Path, names: Names, *, wings: frozenset[str] = frozenset(), is_installed: bool = False
) -> tuple[str, ...]:
    """Return what of the project the bundle would collide with; `wings` are its folders."""
    taken = (
        ()
        if is_installed
        else (
            *_taken_names(folder),
            *_python(folder, names, wings),
            *_foreign_migrations(folder, names),
        )
    )
    return (
        *_routes(folder),
        *taken,
        *_not_uploaded(folder, names),
    )


def _routes(folder: Path) -> Iterator[str]:
    for name in ("migrate", "migration-status"):
        for pattern in (f"app/api/{name}/route.*", f"pages/api/{name}.*", f"pages/api/{name}/*"):
            for path in (*folder.glob(pattern), *folder.glob(f"src/{pattern}")):
                yield f"{path.relative_to(folder).as_posix()} serves /api/{name}: rename the route."
        for path in folder.glob(f"api/{name}*"):
            if path.name != f"{name}.py" and (path.stem == name or path.is_dir()):
                yield f"api/{path.name} would be served at /api/{name}: rename it."


def _taken_names(folder: Path) -> Iterator[str]:
    if _is_there(folder / "build.sh"):
        yield (
            "build.sh is there already. Rename it, for example to build-site.sh, and let "
            'vercel.json have `"buildCommand": "bash build-site.sh"`: install hands that to '
            "the build.sh of the bundle."
        )
    for name in ("migrate", "requirements-local.txt", "api/migrate.py", "api/migration-status.py"):
        if _is_there(folder / name):
            yield f"{name} is there already, and is not the bundle's: rename it."


def _python(folder: Path, names: Names, wings: frozenset[str]) -> Iterator[str]:
    package = folder / names.package
    another = "" if names.package != PACKAGE else ", or choose another name: --package migrator"
    if _is_there(package) and not package.is_dir():
        yield f"{names.package} is there already, and is no folder: rename it{another}."
        return
    own = sorted(
        path.relative_to(folder).as_posix()
        for place in (package, *(package / wing for wing in wings))
        for path in (*place.glob("*.py"), *place.glob("*.pyi"))
    )
    own += [f"{names.package}/{wing}" for wing in sorted(wings) if (package / wing).is_file()]
    if own:
        more = f" and {len(own) - 3} more" if len(own) > 3 else ""
        yield (
            f"{names.package}/ has Python of the project where the bundle puts its own "
            f"({', '.join(own[:3])}{more}): move it{another}."
        )


def _foreign_migrations(folder: Path, names: Names) -> Iterator[str]:
    place = folder / names.migrations
    another = "another one: --migrations sql" if names.migrations == MIGRATIONS else "another one"
    if _is_there(place) and not place.is_dir():
        yield f"{names.migrations} is there already, and is no folder: choose {another}."
        return
    foreign = sorted(
        path.relative_to(place).as_posix() for path in place.glob("*") if is_foreign(path)
    )
    if foreign:
        old = f"old-{names.migrations}"
        yield (
            f"{names.migrations}/ has files of another tool ({', '.join(foreign[:3])}"
            f"{', …' if len(foreign) > 3 else ''}). Move the folder, as in `git mv "
            f"{names.migrations} {old}`, commit, and install again: `./migrate adopt TOOL --from "
            f"{old}` carries the files on then. Or leave it where it is, and choose {another}."
        )


def is_foreign(path: Path) -> bool:
    """True for what is no migration of the project's own in their folder."""
    if path.name.startswith((".", "_")) or path.suffix in (".md", ".txt"):
        return False
    return not _MIGRATION.fullmatch(path.name) or int(path.name.partition("-")[0]) == 0


def _not_uploaded(folder: Path, names: Names) -> Iterator[str]:
    """Vercel's CLI leaves out what .vercelignore names, as git does with .gitignore."""
    path = folder / ".vercelignore"
    if not path.is_file():
        return
    ours = ("api", names.package, names.migrations, "build.sh", "vercel.json", "requirements.txt")
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").split("\n"), 1
    ):
        pattern = line.strip().strip("/")
        first = pattern.partition("/")[0]
        if first in ours or pattern in ("*", "**", "*.py", "*.sql", "*.sh", "*.txt", "*.json"):
            yield f".vercelignore:{number}: {pattern} leaves out files of the bundle: change it."


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _any_of(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))
