"""All tools whose history can be carried on, in the order in which the documents name them."""

from .drizzle import DRIZZLE
from .flyway import FLYWAY
from .graphile_migrate import GRAPHILE_MIGRATE
from .marker_tools import DBMATE, GOOSE, NODE_PG_MIGRATE, SQL_MIGRATE, TERN
from .paired_files import GOLANG_MIGRATE, SQLX
from .prisma import PRISMA
from .supabase import SUPABASE
from .tool import Tool

# A line for each tool.
TOOLS: tuple[Tool, ...] = (
    PRISMA,
    DRIZZLE,
    SUPABASE,
    FLYWAY,
    DBMATE,
    GOOSE,
    GOLANG_MIGRATE,
    SQLX,
    NODE_PG_MIGRATE,
    GRAPHILE_MIGRATE,
    SQL_MIGRATE,
    TERN,
)


def find_tool(word: str) -> Tool:
    """Return the tool with this word on the command line, which has to be one of them."""
    return next(tool for tool in TOOLS if tool.word == word)
