"""Whose a database is, as a table: what production has claimed by, the newest last, and how the database is met."""

import pytest

from lib.fingerprint import Fingerprint


@pytest.mark.parametrize(
    ("met", "claims", "belongs"),
    [
        pytest.param("1:5", [], False, id="none"),
        pytest.param("1:5", ["1:5"], True, id="the same"),
        pytest.param("1:5", ["1:6"], False, id="another database of the server"),
        pytest.param("1:5", ["2:5"], False, id="another server: a logical copy"),
        pytest.param("1:5:ep-a", ["1:5:ep-a"], True, id="the same branch"),
        pytest.param("1:5:ep-b", ["1:5:ep-a"], False, id="another branch"),
        pytest.param("1:5", ["1:5:ep-a"], True, id="met by a tunnel"),
        pytest.param("1:5:ep-a", ["1:5"], True, id="claimed by a tunnel, to be claimed by name"),
        pytest.param("1:5:ep-a", ["1:5", "1:5:ep-a"], True, id="claimed by both"),
        pytest.param("1:5:ep-b", ["1:5", "1:5:ep-a"], False, id="a branch of what was claimed by both"),
        pytest.param("1:5", ["1:5", "1:5:ep-a"], True, id="a tunnel to what was claimed by both"),
        pytest.param("unknown:5", ["1:5"], True, id="a role that may not ask for the server"),
        pytest.param("1:5", ["unknown:5"], True, id="claimed by such a role"),
        pytest.param("2:5", ["unknown:5", "1:5"], False, id="a copy of what was claimed by both"),
        pytest.param("unknown:5", ["unknown:5"], True, id="a server that does not tell"),
        pytest.param("unknown:6", ["unknown:5"], False, id="another database of one that does not tell"),
        pytest.param("unknown:5:ep-b", ["unknown:5:ep-a"], False, id="another branch of one that does not tell"),
        pytest.param("unknown:5:ep-b", ["1:5"], True, id="neither side tells all"),
        pytest.param("2:5", ["1:5", "unknown:5"], True, id="a copy, or claimed anew by such a role: nobody can tell"),
        pytest.param("1:5:ep-b", ["1:5:ep-a", "1:5"], True, id="a branch, or claimed anew by a tunnel: nobody can tell"),
        pytest.param("1:5:ep-a", ["1:5:ep-a", "1:5:ep-b"], True, id="claimed, and gone on with elsewhere"),
        *(pytest.param("1:5", [text], False, id=f"no fingerprint: {text}") for text in ("", "where it was", ":::", "1")),
    ],
)
def test_whose_it_is(met: str, claims: list[str], belongs: bool) -> None:
    fingerprint = Fingerprint.parse(met)
    assert str(fingerprint) == met
    assert fingerprint.belongs_to([Fingerprint.parse(claim) for claim in claims]) is belongs


@pytest.mark.parametrize(
    ("newest", "own", "tells_all"),
    [
        ("1:5", "1:5", True),
        ("1:5:ep-a", "1:5:ep-a", True),
        ("1:5:ep-a", "1:5", True),
        ("1:5", "1:5:ep-a", False),
        ("1:5:ep-b", "1:5:ep-a", False),
        ("1:5", "unknown:5", True),
        ("unknown:5", "1:5", False),
        ("1:6", "1:5", False),
        ("2:5", "1:5", False),
    ],
)
def test_what_the_newest_claim_has_to_tell(newest: str, own: str, tells_all: bool) -> None:
    assert Fingerprint.parse(newest).tells_all_of(Fingerprint.parse(own)) is tells_all
