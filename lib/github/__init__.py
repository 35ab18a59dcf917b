"""A pull request on GitHub: what a rehearsal has found, said there. Not deployed.

The report and every name in it are a stranger's; the answers of GitHub may be anything.
May import: files, review, branches, console.
Must not: run or read a file of the pull request, or show text from outside unescaped.

    markdown         text from outside in Markdown, which shows it as it is
    report_document  the report of a rehearsal as it is found in a file, checked
    report_markdown  that report as Markdown: for a comment, a summary, a terminal
    annotations      that report as annotations at the lines of the files
    pull_request     the pull request that a job is about, from what GitHub tells the job
    api              requests to GitHub: repeated where that helps, within limits
    comments         the one comment on the pull request, found again and updated
    other_pulls      the numbers that other open pull requests take
"""
