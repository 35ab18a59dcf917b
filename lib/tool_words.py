"""What other migration tools are called: on the command line, and in the header of a file."""

# What `adopt` takes: the tools with files of SQL; and a database as it is, whatever has made it.
DATABASE = "database"
ADOPTABLE = (
    *("prisma", "drizzle", "supabase", "flyway", "dbmate", "goose", "golang-migrate", "sqlx"),
    *("node-pg-migrate", "graphile-migrate", "sql-migrate", "tern", DATABASE),
)
# The tools whose migrations are programs: of what they have made, `adopt database` makes one file.
WITHOUT_SQL = (*("knex", "kysely", "sequelize", "typeorm", "rails", "ecto", "alembic", "django"),)
ADOPTED = (*ADOPTABLE, *WITHOUT_SQL)


def adopted_as(tool: str) -> str:
    """Return what `adopt` takes for the history of a tool."""
    return DATABASE if tool in WITHOUT_SQL else tool
