"""The command line: words, options, exit codes, signals. Not deployed with the functions.

A command itself is in `commands`, and is imported when it is called.
May import: plan, console, calls, commands.
Must not: import the web, or decide anything about migrations.

    command_help        the help about all commands, and the likely word for a wrong one
    options             the commands and their options, as argparse reads them
    completion_scripts  the scripts that complete a command on the Tab key
    completion          the script that completes commands in a shell, from the options
    main                from the words of a command to its exit code, failures included
"""
