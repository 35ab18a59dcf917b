"""A development database, made anew and filled. Not deployed with the functions.

Production's database is never touched.
May import: sql, files, settings, plan, database, ledger, apply, actions.
Must not: drop anything of a provider, of an extension, or of another role.

    seed_folder        the seeds: which files there are, and what is refused in them
    seed_table         the table of the seeds that have run: created, read, written
    seed_reports       what has become of the seeds, as values
    seed_status        the seeds and what has become of them
    seeding            the seeds of this environment, each applied once
    file_objects       what the files create beside tables in public
    droppable_objects  which objects a reset drops, and the proof that it takes nothing else along
    reset              a database emptied of what the files have made
"""
