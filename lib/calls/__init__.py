"""One command as it was called, and what it needs before it begins. Not deployed.

May import: files, settings, plan, database, review, actions, local, console.
Must not: do what the command is for.

    invocation      one command as it was called
    local_database  the embedded PostgreSQL as the database of a command
    command_setup   what a command needs: its settings, its database, its run context
    deployed_sizes  the sizes of the database of a deployed application
"""
