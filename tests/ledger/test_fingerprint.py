"""Whether production has claimed a database: its claims, the newest last, and what is known now."""

from itertools import product

import pytest

from lib.ledger.fingerprint import UNKNOWN, Fingerprint


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
        pytest.param(
            "1:5:ep-b", ["1:5", "1:5:ep-a"], False, id="a branch of what was claimed by both"
        ),
        pytest.param("1:5", ["1:5", "1:5:ep-a"], True, id="a tunnel to what was claimed by both"),
        pytest.param("unknown:5", ["1:5"], True, id="a role that may not ask for the server"),
        pytest.param("1:5", ["unknown:5"], True, id="claimed by such a role"),
        pytest.param("2:5", ["unknown:5", "1:5"], False, id="a copy of what was claimed by both"),
        pytest.param("unknown:5", ["unknown:5"], True, id="a server that does not tell"),
        pytest.param(
            "unknown:6", ["unknown:5"], False, id="another database of one that does not tell"
        ),
        pytest.param(
            "unknown:5:ep-b",
            ["unknown:5:ep-a"],
            False,
            id="another branch of one that does not tell",
        ),
        pytest.param("unknown:5:ep-b", ["1:5"], True, id="neither side tells all"),
        pytest.param(
            "2:5",
            ["1:5", "unknown:5"],
            True,
            id="a copy, or claimed anew by such a role: nobody can tell",
        ),
        pytest.param(
            "1:5:ep-b",
            ["1:5:ep-a", "1:5"],
            True,
            id="a branch, or claimed anew by a tunnel: nobody can tell",
        ),
        pytest.param(
            "1:5:ep-a", ["1:5:ep-a", "1:5:ep-b"], True, id="claimed, and gone on with elsewhere"
        ),
        *(
            pytest.param("1:5", [text], False, id=f"no fingerprint: {text}")
            for text in ("", "where it was", ":::", "1")
        ),
    ],
)
def test_whose_it_is(met: str, claims: list[str], belongs: bool) -> None:
    fingerprint = Fingerprint.parse(met)
    assert str(fingerprint) == met
    assert fingerprint.belongs_to([Fingerprint.parse(claim) for claim in claims]) is belongs


def views(system: str, branch: str) -> list[Fingerprint]:
    """How one database is met: knowing of the server or not, by its own name or by a tunnel."""
    return [Fingerprint(s, "5", b) for s in (system, UNKNOWN) for b in dict.fromkeys((branch, ""))]


def named(claims: tuple[Fingerprint, ...]) -> str:
    return " ".join(map(str, claims)) or "none"


HERE = views("1", "ep-b")
ELSEWHERE = [*views("1", "ep-a"), *views("2", "ep-b"), Fingerprint("1", "6", "ep-b")]


@pytest.mark.parametrize(
    "inherited", [(), *((c,) for c in ELSEWHERE), *product(ELSEWHERE, repeat=2)], ids=named
)
def test_however_production_is_met_no_other_view_of_its_database_is_free(
    inherited: tuple[Fingerprint, ...],
) -> None:
    """Whatever claims were copied along: production claims unless the newest claim is its own."""
    for runs in (sequence for times in (1, 2, 3) for sequence in product(HERE, repeat=times)):
        claims = list(inherited)
        for own in runs:
            if claims[-1:] != [own]:
                claims = [*(claim for claim in claims if claim != own), own]
        assert all(view.belongs_to(claims) for view in HERE), runs
