"""What each command of the command line does. Not deployed with the functions.

A function per command, which returns the exit code.
May import: files, settings, plan, review, actions, edits, rebuild, local, scratch, rehearse, adopt,
install, branches, console, github, text, calls.
Must not: import the web, or decide anything about migrations.

    schema_commands     the commands about the schema that the files make
    rebuild_commands    the commands that fill a development database, or make it anew
    drift_commands      the command about what has changed beside the migrations
    review_commands     the commands about what a migration does to a live database
    migration_commands  the commands about migrations
    local_commands      the commands about what runs on this machine
    adopt_commands      the command that carries on the history of another tool
    project_commands    the commands that bring the bundle into a project
    github_commands     the command that tells of a rehearsal on GitHub
    branch_commands     the command about numbers that two branches contend for
"""
