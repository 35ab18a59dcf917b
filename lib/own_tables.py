"""The tables of the runner, all in schema public."""

# Which files were applied, and the record of the runs.
LEDGER, RUNS = "schema_migrations", "schema_migration_runs"
# Which seeds have run; only in databases that had any.
SEEDS = "schema_migration_seeds"
# The schema after the newest run: names and keyed hashes.
OBJECTS = "schema_migration_objects"
OWN_TABLES = (LEDGER, RUNS, SEEDS, OBJECTS)
