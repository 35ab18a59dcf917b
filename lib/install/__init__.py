"""The bundle in a project. Not deployed with the functions.

Works with nothing but Python installed.
May import: nothing but the floor.
Must not: need a package, or write what git could not bring back without having been told to.

    package_manifest  the file from which Vercel installs the packages of the functions
    git               git, asked without running anything of the repository
    bundle            the files of this clone, under the names that a project gives them
    changes           what is done to a project: planned as a value, carried out whole
    vercel_json       vercel.json, edited as text
    package_lines     requirements.txt, pyproject.toml, Pipfile, .gitignore, edited as text
    project           a project as it is found, and what is in the way
    merges            the shared files: which, and what is added
    record            what an installation has done, found in a project
    planning          from a project to the changes that an action makes
"""
