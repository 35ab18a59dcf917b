"""The command line. Not deployed with the functions.

Text for people, exit codes, signals.
May import: files, settings, plan, database, actions, local.
Must not: import the web, or decide anything about migrations.

    terminal          reports as text for people
    package_manifest  the file from which Vercel installs the packages of the functions
    commands          the commands, their options and exit codes
"""
