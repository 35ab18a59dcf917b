"""From a project as it is found to the changes that an action makes: decided, nothing written."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .. import COMMAND
from ..errors import ConfigurationError
from . import package_lines, vercel_json
from .bundle import (
    FIRST_MIGRATION,
    MIGRATIONS,
    PACKAGE,
    PYTHON_VERSION,
    RECORD,
    Bundle,
    Copied,
    Names,
    digest,
    news,
    number,
)
from .changes import Action, Change, Kind, Merged, Plan, links, missing_folders, not_files
from .git import Git, ignored, nested
from .merges import Merging, Shared, original, restored
from .project import Project, find_application, inspect, is_foreign, obstacles, open_folder
from .record import (
    Place,
    Record,
    Request,
    is_filled_by_hand,
    listed,
    record_by_hand,
    record_path,
    recorded_names,
)

_LEFT_BEHIND = (".venv", ".local", ".vercel")
_LOOK_AND_COMMIT = ("Look at it: git diff, git status", "Commit it: git add -A, git commit")


def make_plan(request: Request, root: Path, environ: Mapping[str, str]) -> Plan:
    """Plan an action on a project, with the bundle at `root`; its faults are all reported."""
    bundle = Bundle.at(root, environ)
    folder = open_folder(request.folder, root)
    git = Git(folder, environ)
    place = Place(request, bundle, folder, git, git.top())
    if bundle.git and place.top == root.resolve():
        raise ConfigurationError(
            f"{request.folder} belongs to the bundle itself: name the root of a project."
        )
    plans: dict[Action, Callable[[Place], Plan]] = {
        "install": _install,
        "update": _update,
        "uninstall": _uninstall,
    }
    plan = plans[request.action](place)
    paths = [change.path for change in plan.written]
    faults = (
        links(folder, paths)
        or not_files(folder, paths)
        or nested(folder, paths)
        or _faults_of_git(place, plan)
    )
    return replace(plan, faults=(*plan.faults, *faults))


# --- Install ---


def _install(place: Place) -> Plan:
    request = place.request
    if record_path(place) or is_filled_by_hand(place):
        raise ConfigurationError(
            f"The bundle is in {request.folder} already: `{COMMAND} update {request.folder}` "
            "brings a later version."
        )
    names = place.bundle.checked_names(request.package or PACKAGE, request.migrations or MIGRATIONS)
    project = inspect(place.folder, place.top)
    files = place.bundle.files(names)
    blocked = obstacles(place.folder, names, wings=place.bundle.wings)
    merging = Merging(project, place.bundle, names)
    shared, faults = merging.all()
    copies = [
        Change(path, "added", None, file.content, is_executable=file.is_executable)
        if not (place.folder / path).exists()
        else Change(path, "kept", why="the project has its own")
        for path, file in files.items()
        if path == PYTHON_VERSION or not (place.folder / path).exists()
    ]
    merges = [_merge(place, path, merged) for path, merged in shared.items()]
    record = Record(
        version=place.bundle.version,
        origin=place.bundle.origin,
        commit=place.bundle.commit,
        package=names.package,
        migrations=names.migrations,
        files={each.path: digest(each.after) for each in copies if each.after is not None},
        shared={
            each.path: Shared(each.before, digest(each.after or b""), shared[each.path].wrote)
            for each in merges
        },
        folders=missing_folders(place.folder, [each.path for each in copies]),
    )
    changes = [*copies, *merges]
    ignored = _ignored(place, names, changes)
    return place.plan(
        changes,
        record=Change(f"{names.package}/{RECORD}", "added", None, record.to_bytes()),
        found=project.found,
        notes=(*project.notes, *merging.notes(), *_notes(place, names, shared)),
        steps=_first_steps(place, names, project),
        faults=(*blocked, *faults, *_lost_site(place, shared), *ignored),
    )


def _lost_site(place: Place, shared: Mapping[str, Merged]) -> tuple[str, ...]:
    """Return why what the project serves today would no longer be served."""
    merged = shared.get(vercel_json.NAME)
    wrote = merged.wrote if merged else {}
    application = find_application(place.folder)
    # Without a preset of its own choice, the project is one of static files and functions now.
    if application and "framework" in wrote and wrote["framework"] is None:
        return (
            f"{application}: Vercel recognizes this application by itself and serves it, but not "
            "beside functions in api/, as the bundle's are. Install into a folder of its own, for "
            "which a second project in Vercel has that folder as its Root Directory.",
        )
    is_public = wrote.get("outputDirectory") == "public"
    if not is_public or (place.folder / "public").exists() or place.read("index.html") is None:
        return ()
    return (
        "index.html: Vercel serves the root of a project only if it has no build command, and the "
        "bundle needs one. Move the site into public/, commit, and install again.",
    )


def _merge(place: Place, path: str, merged: Merged) -> Change:
    before = place.read(path)
    if before == merged.content:
        return Change(path, "kept", before, before, why="it has all that is needed")
    return Change(path, "added" if before is None else "merged", before, merged.content)


def _notes(place: Place, names: Names, shared: Mapping[str, Merged]) -> list[str]:
    notes = _about_package(place, names)
    folder = place.folder / names.migrations
    own = sorted(path.name for path in folder.glob("*.sql") if not is_foreign(path))
    if own:
        files = "1 file" if len(own) == 1 else f"{len(own)} files"
        notes.append(
            f"{names.migrations}/ has {files} of the project ({listed(own)}). The next build "
            "applies what is there: see that no database has it already, or use baseline."
        )
    version = place.read(PYTHON_VERSION)
    if version and re.match(rb"\s*3\.([0-9]|1[01])\b", version):
        notes.append(f"{PYTHON_VERSION} names a Python before 3.12, which Vercel does not have.")
    if version and "api/requirements.txt" in shared and place.read("pyproject.toml"):
        notes.append(f"With api/requirements.txt, {PYTHON_VERSION} has no effect on the functions.")
    if b'"routes"' in (place.read(vercel_json.NAME) or b""):
        notes.append("vercel.json has routes: see that none of them takes /api/migrate.")
    return notes


def _about_package(place: Place, names: Names) -> list[str]:
    """Say of a folder that the project has already, and shares, that its files stay."""
    folder = place.folder / names.package
    own = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.glob("*"))
    if not own:
        return []
    return [
        f"{names.package}/ has files of the project ({listed(own)}), which stay as they are. "
        f"`{COMMAND} install --package migrator {place.request.folder}` would give the bundle a "
        "folder of its own."
    ]


def _first_steps(place: Place, names: Names, project: Project) -> tuple[str, ...]:
    steps = [
        *_LOOK_AND_COMMIT,
        "If a database has tables already, adopt it before anything else: "
        f"{place.bundle.root / 'docs' / 'adopting-a-history.md'}",
        "Write the first migration: ./migrate create add orders table",
        "In Vercel, connect a database (Storage), or set DATABASE_URL",
        "Push: the build migrates before it builds the site",
    ]
    if names.migrations != MIGRATIONS:
        steps.insert(
            2,
            f"Set MIGRATIONS_DIR={names.migrations} in Vercel, for all environments, "
            "and in .env.local",
        )
    for tool, page in project.tools.items():
        steps.append(f"About {tool}: {place.bundle.root / 'docs' / 'switching' / page}.md")
    if "Supabase" in project.tools:
        steps.append(
            "For Supabase's roles and schemas in the local database: "
            "MIGRATION_LOCAL_PLATFORM=supabase in .env.local"
        )
    return tuple(steps)


# --- Update ---


def _update(place: Place) -> Plan:
    request = place.request
    path = record_path(place)
    record = Record.of(path, place.read(path) or b"") if path else record_by_hand(place)
    names = recorded_names(place, record)
    if number(record.version) > number(place.bundle.version) and not request.is_forced:
        raise ConfigurationError(
            f"{request.folder} has version {record.version}, which is later than "
            f"{place.bundle.version} of this clone. `--force` goes back to it."
        )
    project = inspect(place.folder, place.top)
    files = {
        name: file
        for name, file in place.bundle.files(names).items()
        # An applied file must never change.
        if not name.startswith(f"{names.migrations}/")
    }
    copies, digests, conflicts = _updated_files(place, record, files)
    merging = Merging(project, place.bundle, names)
    merged, faults, more = merging.renewed(record.shared, keeps_changes=request.side != "theirs")
    merges, shared = _updated_merges(place, record.shared, merged)
    conflicts += more
    if conflicts and request.side is None:
        faults += (_about_conflicts(place, conflicts, is_known=bool(path)),)
    updated = replace(
        record,
        version=place.bundle.version,
        files={**digests, **_of_migrations(record, names)},
        shared=shared,
        folders=tuple(sorted({*record.folders, *missing_folders(place.folder, list(files))})),
    )
    changes = [*copies, *merges]
    recorded = f"{names.package}/{RECORD}"
    before = place.read(recorded)
    kind: Kind = "replaced" if before else "added"
    if not any(change.writes for change in changes) and updated == record:
        # Another commit with the same files is nothing that has to be committed.
        kind = "kept"
    after = replace(
        updated, origin=place.bundle.origin or record.origin, commit=place.bundle.commit
    ).to_bytes()
    return place.plan(
        changes,
        previous=record.version if path else None,
        record=Change(recorded, kind, before, after),
        found=project.found,
        news=news(place.bundle.root, record.version) if path else (),
        notes=(*project.notes, *merging.notes()),
        steps=_LOOK_AND_COMMIT,
        faults=(
            *obstacles(place.folder, names, is_installed=True),
            *faults,
            *_ignored(place, names, changes),
        ),
    )


def _updated_files(
    place: Place, record: Record, files: Mapping[str, Copied]
) -> tuple[list[Change], dict[str, str], list[str]]:
    """Return the changes to copied files, the digests to record, and what both have changed."""
    changes: list[Change] = []
    digests: dict[str, str] = {}
    conflicts: list[str] = []
    for path in sorted({*files, *record.files}):
        if path.startswith(f"{record.migrations}/"):
            continue
        new, old = files.get(path), record.files.get(path)
        current = place.read(path)
        found = None if current is None else digest(current)
        wanted = None if new is None else digest(new.content)
        if path == PYTHON_VERSION and old is None and found is not None:
            changes.append(Change(path, "kept", why="the project has its own"))
        elif found == wanted or (new is None and found is None):
            digests |= {path: wanted} if wanted else {}
        elif wanted is not None and wanted == old:
            # The project has changed it, and this version has not.
            digests[path] = wanted
            changes.append(Change(path, "kept", why="changed by the project"))
        elif found == old or place.request.side == "theirs":
            kind: Kind = "removed" if new is None else "added" if current is None else "replaced"
            content = None if new is None else new.content
            is_executable = new is not None and new.is_executable
            changes.append(Change(path, kind, current, content, is_executable=is_executable))
            digests |= {path: wanted} if wanted else {}
        else:
            conflicts.append(path)
            changes.append(Change(path, "kept", why="changed by the project"))
            # With --ours: not asked again until this file changes in the bundle.
            digests |= {path: wanted} if wanted else {}
    return changes, digests, conflicts


def _updated_merges(
    place: Place, recorded: Mapping[str, Shared], results: Mapping[str, Merged]
) -> tuple[list[Change], dict[str, Shared]]:
    """Return the changes to shared files, and what to record of each."""
    changes = [_merge(place, path, merged) for path, merged in results.items()]
    shared = {path: each for path, each in recorded.items() if path not in results}
    for change in changes:
        merged, old = results[change.path], recorded.get(change.path)
        before = change.before
        if before is not None and old is not None:
            before = original(change.path, before, old)
        shared[change.path] = Shared(before, digest(merged.content), merged.wrote)
    return [change for change in changes if change.writes], shared


# --- Uninstall ---


def _uninstall(place: Place) -> Plan:
    path = record_path(place)
    if path is None:
        by_hand = (
            f" It was copied by hand: run `{COMMAND} update {place.request.folder}` first."
            if is_filled_by_hand(place)
            else ""
        )
        raise ConfigurationError(f"Nothing is installed in {place.request.folder}.{by_hand}")
    record = Record.of(path, place.read(path) or b"")
    names = recorded_names(place, record)
    own = [
        file.name
        for file in sorted((place.folder / names.migrations).glob("*.sql"))
        if file.name != FIRST_MIGRATION
    ]
    kept = (f"{names.migrations}/{FIRST_MIGRATION}",) if own else ()
    copies, faults = _removed_files(place, record, kept)
    shared, notes = _unmerged(place, record)
    if own:
        notes.append(f"The migrations of the project stay in {names.migrations}/.")
    if left := _left_behind(place.folder, names):
        notes.append(f"Remove these yourself if nothing else needs them: {', '.join(left)}.")
    notes.append("No database is touched: the runner's tables stay, and what the migrations made.")
    return place.plan(
        [*copies, *shared],
        previous=record.version,
        record=Change(path, "removed", place.read(path), None, is_ours=True),
        empty_folders=record.folders,
        notes=tuple(notes),
        steps=(*_before_the_commit(place, shared), *_LOOK_AND_COMMIT),
        faults=faults,
    )


def _removed_files(
    place: Place, record: Record, kept: tuple[str, ...]
) -> tuple[list[Change], tuple[str, ...]]:
    """Return the changes to copied files, and what the project has changed, as a fault."""
    changes: list[Change] = []
    changed: list[str] = []
    for name, recorded in record.files.items():
        content = place.read(name)
        if content is None:
            continue
        is_ours = digest(content) == recorded
        if name in kept:
            changes.append(Change(name, "kept", why="the migrations of the project follow it"))
        elif is_ours or place.request.is_forced:
            changes.append(Change(name, "removed", content, None, is_ours=is_ours))
        else:
            changed.append(name)
    if not changed:
        return changes, ()
    fault = (
        f"The project has changed {listed(changed)}: keep a copy of what you need, "
        "and use --force to remove them."
    )
    return changes, (fault,)


def _left_behind(folder: Path, names: Names) -> list[str]:
    """Return what the commands have made, which no record has."""
    left = [name for name in _LEFT_BEHIND if (folder / name).exists()]
    # build.sh makes it for Vercel; git knows no empty folder.
    public = folder / "public"
    left += ["public"] if public.is_dir() and not any(public.iterdir()) else []
    left += ["__pycache__"] if any((folder / names.package).rglob("__pycache__")) else []
    return left


def _before_the_commit(place: Place, shared: Sequence[Change]) -> tuple[str, ...]:
    exposed = _exposed(place, shared)
    if not exposed:
        return ()
    return (
        f"Remove {listed(exposed)}, or add what stays to .gitignore: git does not ignore this any "
        "more, and `git add -A` would take it up, passwords too",
    )


def _exposed(place: Place, shared: Sequence[Change]) -> list[str]:
    """Return what a later `git add -A` would take up, since the lines of .gitignore go."""
    ignore_file = next((each for each in shared if each.path == package_lines.IGNORE_FILE), None)
    if place.top is None or ignore_file is None:
        return []
    # Of a folder, a file in it: only a folder that exists would match `.venv/`.
    paths = {f"{name}/x": name for name in _LEFT_BEHIND if (place.folder / name).is_dir()}
    paths |= {path.name: path.name for path in sorted(place.folder.glob(".env*.local"))}
    after = {package_lines.IGNORE_FILE: ignore_file.after or b""}
    still = ignored(place.git, paths, after)
    return [
        name for path, name in paths.items() if path not in still and not place.git.tracked(name)
    ]


def _unmerged(place: Place, record: Record) -> tuple[list[Change], list[str]]:
    """Return the changes that take our part out of shared files, and what is left to the reader."""
    changes: list[Change] = []
    notes: list[str] = []
    for path, shared in record.shared.items():
        content = place.read(path)
        if content is None:
            continue
        try:
            after = restored(path, content, shared)
        except ConfigurationError as error:
            changes.append(Change(path, "kept", why="changed by the project"))
            notes += error.faults
            continue
        if after != content:
            kind: Kind = "removed" if after is None else "merged"
            is_ours = digest(content) == shared.after
            changes.append(Change(path, kind, content, after, is_ours=is_ours))
    return changes, notes


def _of_migrations(record: Record, names: Names) -> dict[str, str]:
    folder = f"{names.migrations}/"
    return {path: value for path, value in record.files.items() if path.startswith(folder)}


def _about_conflicts(place: Place, conflicts: Sequence[str], *, is_known: bool) -> str:
    if not is_known and not place.bundle.has_history:
        return (
            "This clone of the bundle has no history, so that it cannot tell what the project has "
            f"changed of {listed(conflicts)}. Clone it whole, or use --theirs to take "
            "the files of the bundle."
        )
    return (
        f"The project has changed {listed(conflicts)}, and this version has other contents. "
        "--theirs takes those of the bundle, --ours keeps those of the project."
    )


# --- git ---


def _faults_of_git(place: Place, plan: Plan) -> tuple[str, ...]:
    """Return what git could not bring back."""
    if place.request.is_forced or not plan.written:
        return ()
    if place.top is None:
        return (
            f"{place.request.folder} is in no git repository, which could bring back what this "
            "command changes. `git init` and commit first, or use --force.",
        )
    paths = [change.path for change in plan.written if change.replaces_work]
    unsaved = place.git.unsaved(paths) if paths else ()
    if not unsaved:
        return ()
    return (
        f"No commit has the present contents of {listed(unsaved)}: commit first, or use --force.",
    )


def _ignored(place: Place, names: Names, changes: Sequence[Change]) -> tuple[str, ...]:
    """Return the patterns by which git would leave out a file of the bundle."""
    if place.top is None:
        return ()
    after = {change.path: change.after for change in changes if change.after is not None}
    files = {
        path: content
        for folder in ("", "api/", f"{names.package}/", f"{names.migrations}/")
        if (path := f"{folder}{package_lines.IGNORE_FILE}") in after or place.read(path)
        if (content := after.get(path) or place.read(path))
    }
    paths = [*after, f"{names.package}/{RECORD}"]
    found = ignored(place.git, [path for path in paths if path not in files], files)
    patterns = {pattern: path for path, pattern in reversed(tuple(found.items()))}
    return tuple(
        f"{pattern}: git would ignore {path}; change the line."
        for pattern, path in patterns.items()
    )
