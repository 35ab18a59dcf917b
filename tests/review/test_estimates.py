"""How an estimate is said."""

import pytest

from lib.review.estimates import Estimate


@pytest.mark.parametrize(
    ("fast", "slow", "said"),
    [
        (0.1, 0.9, "less than a second"),
        (0.3, 4, "up to 4 s"),
        (9, 9.2, "about 9 s"),
        (3, 41, "3 to 41 s"),
        (25, 500, "25 s to 8 min"),
        (125, 1700, "2 to 28 min"),
        (5400, 40000, "90 min to 11 hours"),
    ],
)
def test_the_unit_is_said_once(fast: float, slow: float, said: str) -> None:
    assert str(Estimate(fast, slow)) == said
