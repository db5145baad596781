"""The command line, by what the commands are about.

Heavy libraries are imported by the command that needs them.
"""
