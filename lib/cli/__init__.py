"""The command line. Not deployed with the functions.

Words, exit codes, signals.
May import: files, settings, plan, database, actions, rebuild, text, local, install.
Must not: import the web, or decide anything about migrations.

    options             the commands and their options, as argparse reads them
    invocation          one command as it was called
    completion          the script that completes commands in a shell, from the options
    local_database      the embedded PostgreSQL as the database of a command
    command_setup       what a command needs: its settings, its database, its run context
    rebuild_commands    the commands that fill a development database, or make it anew
    migration_commands  the commands about migrations
    local_commands      the commands about what runs on this machine
    project_commands    the commands that bring the bundle into a project
    main                from the words of a command to its exit code, failures included
"""
