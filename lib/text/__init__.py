"""What the reports of the commands say to people. Not deployed with the functions.

May import: files, plan, catalog, review, drift, edits, rebuild, rehearse, tools, adopt, install,
branches, console, github.
Must not: decide anything, or write anywhere.

    history_text    the runs on record as text for people
    drift_text      changes of a schema as text for people, and as Markdown
    status_text     the status as text for people
    rebuild_texts   the seeds as text for people, and the question of a reset
    report_texts    the reports of plan, baseline and resolve as text for people
    install_text    what an action does to a project, as text for people
    adoption_text   the history of another tool as text for people
    sizes_text      the sizes of tables as text for people
    rehearsal_text  a rehearsal as text for people
    renumber_text   which files got other numbers, as text for people
"""
