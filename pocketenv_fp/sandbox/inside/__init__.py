"""The program of `run_code`. It runs in the sandbox, with any Python from 3.9 and its standard library.

`pocketenv_fp.sandbox.commands.code` sends these modules as one file, without comments and imports of each other. Their
names are therefore different from each other.
"""
