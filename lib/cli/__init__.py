"""The command line. Not deployed with the functions.

Text for people, exit codes, signals.
May import: files, settings, plan, database, actions, local.
Must not: import the web, or decide anything about migrations.

    terminal          what a stream can show, and the text of a run
    status_text       the status as text for people
    report_texts      the reports of plan, baseline and resolve as text for people
    output_streams    standard output and standard error
    progress_log      a run as it goes, line by line
    options           the commands and their options, as argparse reads them
    package_manifest  the file from which Vercel installs the packages of the functions
    command_setup     one command as it was called: its settings, its database, its run context
    commands          what each command does
    main              from the words of a command to its exit code, failures included
"""
