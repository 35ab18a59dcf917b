"""vercel.json is edited as text: afterwards it says theirs plus ours, laid out as before."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import ConfigurationError
from lib.install.vercel_json import Site, build_command, changed_keys, merged, renewed, without

OURS: dict[str, Any] = {
    "api/migrate.py": {"maxDuration": 300, "excludeFiles": "{!(api)/**}"},
    "api/migration-status.py": {"maxDuration": 15, "excludeFiles": "{!(api)/**}"},
}
SITE = Site("nextjs", "npm run build")
COMMAND = "FRONTEND_BUILD_COMMAND='npm run build' bash build.sh"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{}", '{\n  "framework": "nextjs",\n  "buildCommand": "…",\n  "functions": "…"\n}'),
        (
            '{\n\t"crons": [\n\t]\n}\n',
            '{\n\t"crons": [\n\t],\n\t"framework": "nextjs",\n\t"buildCommand": "…",\n'
            '\t"functions": "…"\n}\n',
        ),
        (
            '{"regions":["fra1"]}',
            '{"regions":["fra1"], "framework": "nextjs", "buildCommand": "…", "functions": "…"}',
        ),
        (
            '{\r\n    "framework": null\r\n}',
            '{\r\n    "framework": null,\r\n    "buildCommand": "…",\r\n    "functions": "…"\r\n}',
        ),
    ],
)
def test_the_layout_of_the_project_is_kept(before: str, after: str) -> None:
    text = merged(before.encode(), SITE, OURS).content.decode()
    document = json.loads(text)
    start = text.index('"functions": ') + len('"functions": ')
    end = start + len(text[start:]) - len(text[start:].lstrip())
    _, end = json.JSONDecoder().raw_decode(text, start)
    short = f'{text[:start]}"…"{text[end:]}'.replace(json.dumps(COMMAND), '"…"')
    assert short == after
    assert document["functions"] == OURS
    lines = text[start:end].splitlines()
    assert len(lines) == (1 if before.startswith('{"') else 10)


def test_two_functions_come_before_a_pattern_that_matches_them_too() -> None:
    before = '{\n  "functions": {\n    "api/*.py": {"maxDuration": 5}\n  }\n}'
    keys = [*json.loads(merged(before.encode(), SITE, OURS).content)["functions"]]
    assert keys == ["api/migrate.py", "api/migration-status.py", "api/*.py"]
    before = before.replace("*", "hello")
    keys = [*json.loads(merged(before.encode(), SITE, OURS).content)["functions"]]
    assert keys == ["api/hello.py", "api/migrate.py", "api/migration-status.py"]


@pytest.mark.parametrize("command", ["make 'it'", "a && b", 'echo "x"', "npm run build"])
def test_a_build_command_is_handed_on_and_comes_back(command: str) -> None:
    before = json.dumps({"buildCommand": command}).encode()
    after = merged(before, SITE, OURS)
    assert json.loads(after.content)["buildCommand"] == build_command(command)
    assert json.loads(without(after.content, after.wrote) or b"") == {"buildCommand": command}


def test_a_build_command_that_leaves_no_room_is_refused() -> None:
    before = json.dumps({"buildCommand": "x" * 220}).encode()
    with pytest.raises(ConfigurationError, match="too long"):
        merged(before, SITE, OURS)


def test_a_command_of_ours_is_not_wrapped_again() -> None:
    before = json.dumps({"buildCommand": COMMAND}).encode()
    assert json.loads(merged(before, SITE, OURS).content)["buildCommand"] == COMMAND


def test_only_the_glob_is_renewed_where_the_project_has_its_own_time() -> None:
    first = merged(None, SITE, OURS)
    document = json.loads(first.content)
    document["functions"]["api/migrate.py"]["maxDuration"] = 60
    later = {path: {"maxDuration": 800, "excludeFiles": "{later}"} for path in OURS}
    current = json.dumps(document).encode()
    assert changed_keys(current, first.wrote, later) == ()
    functions = json.loads(renewed(current, SITE, later, wrote=first.wrote).content)["functions"]
    assert functions["api/migrate.py"] == {"maxDuration": 60, "excludeFiles": "{later}"}
    assert functions["api/migration-status.py"] == {"maxDuration": 800, "excludeFiles": "{later}"}


def test_a_glob_of_the_project_is_named_only_if_the_bundle_has_changed_it() -> None:
    first = merged(None, SITE, OURS)
    current = first.content.replace(b"{!(api)/**}", b"{own}", 1)
    later = {path: {"excludeFiles": "{later}"} for path in OURS}
    assert changed_keys(current, first.wrote, OURS) == ()
    assert changed_keys(current, first.wrote, later) == ("functions, api/migrate.py, excludeFiles",)


NAMES = st.sampled_from(
    ["crons", "é", 'a"b', "framework", "outputDirectory", "buildCommand", "functions", "", "\\"]
)
SETTINGS = st.dictionaries(
    st.sampled_from(["api/x.py", "api/**", "api/migrate.py"]), st.just({"memory": 1}), max_size=3
)
DOCUMENTS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    NAMES, st.sampled_from([1, None, "x", [], {}, {"a": [1, {"b": "}"}]}, "}{,:"]), max_size=5
).flatmap(
    lambda document: SETTINGS.map(
        lambda settings: (
            {**document, "functions": settings} if "functions" in document else document
        )
    )
)


def written(document: Mapping[str, Any], indent: str | None, end: str, blanks: str) -> bytes:
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    return f"{blanks}{text.replace(chr(10), end)}{blanks}".encode()


@given(
    DOCUMENTS,
    st.sampled_from([None, "", "  ", "\t", "        "]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\n", " \t"]),
)
def test_the_result_reads_as_theirs_plus_ours(
    document: dict[str, Any], indent: str | None, end: str, blanks: str
) -> None:
    before = written(document, indent, end, blanks)
    if not isinstance(document.get("buildCommand"), str | None):
        document = {**document, "buildCommand": "make"}
        before = written(document, indent, end, blanks)
    result = merged(before, SITE, OURS)
    after = json.loads(result.content)
    theirs = document.get("functions", {})
    assert {key: after[key] for key in document if key not in ("functions", "buildCommand")} == {
        key: value for key, value in document.items() if key not in ("functions", "buildCommand")
    }
    # The order of their keys stays.
    assert [key for key in after if key in document] == [*document]
    build = document.get("buildCommand")
    # An empty one asks for no build.
    assert after["buildCommand"] == build_command("npm run build" if build is None else build)
    for path, settings in OURS.items():
        assert after["functions"][path].items() >= settings.items()
    others = {path: value for path, value in after["functions"].items() if path not in OURS}
    assert others == {path: value for path, value in theirs.items() if path not in OURS}
    # Line ends are not mixed.
    if end == "\r\n" and indent is not None and document and not blanks:
        assert b"\n" not in result.content.replace(b"\r\n", b"")
    # Once more adds nothing.
    assert merged(result.content, SITE, OURS).content == result.content


@given(DOCUMENTS, st.sampled_from([None, "  ", "\t"]))
def test_taking_ours_out_leaves_theirs(document: dict[str, Any], indent: str | None) -> None:
    theirs = {
        key: value
        for key, value in document.items()
        if key not in ("buildCommand", "functions") and not (key == "framework" and value is None)
    }
    result = merged(written(theirs, indent, "\n", ""), SITE, OURS)
    left = without(result.content, result.wrote)
    assert (json.loads(left) if left else {}) == theirs
