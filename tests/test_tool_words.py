"""What other migration tools are called."""

from lib.tool_words import ADOPTABLE, ADOPTED, adopted_as


def test_adopt_takes_a_word_for_each_tool_that_a_header_names() -> None:
    assert {adopted_as(tool) for tool in ADOPTED} == set(ADOPTABLE)
    assert adopted_as("kysely") == adopted_as("database") == "database"
    assert adopted_as("prisma") == "prisma"
