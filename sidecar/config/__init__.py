"""The settings of one process, read and checked as a whole.

Takes:      a TOML file, or the table that it means.
Gives:      a checked `Config`; or every fault of it at once, each with its path.
May touch:  the file; environment variables that it names.
Never:      a part that runs: settings stand beside the code that they configure, and here only
            those that are made of several parts' own.
Owner:      nobody: all of it are values.
"""
