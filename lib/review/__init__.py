"""What pending files do to a live database and to deployed code, judged: findings.

From the texts and the sizes alone: a run with pending files, `plan` and `sizes` need no server.
May import: sql, files, database.
Must not: run a statement of a file, write anything, or load where nothing is pending.

    finding            one finding, and how severe it is, as values
    live_sizes         how large and how busy the tables of a database are, as values
    sizes_query        the same, read from a live database
    rules              every rule: what it is about, and how severe
    ignored_rules      comments that ignore a rule, and the one list of findings that are left
    estimates          how long work on a table takes, and how severe that is under a lock
    advice             what is said in the same words, whether a text or a rehearsal shows it
    statement_effects  what one statement says that it does, and to which object
    safer_sql          the safer way to do what a statement does, as SQL
    file_review        what pending files do by their texts alone, weighed by the database
"""
