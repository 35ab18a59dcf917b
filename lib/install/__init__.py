"""The bundle in a project. Not deployed with the functions.

Works with nothing but Python installed.
May import: nothing but the floor.
Must not: need a package, or write what git could not bring back without having been told to.

    package_manifest  the file from which Vercel installs the packages of the functions
"""
