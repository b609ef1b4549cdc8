"""The commands of `python -m course_lib`: parser.py knows the arguments of all, and
each command has a module with a function `run(args)`.

parser.py imports nothing large, so that `--help` answers at once. The module of a
command is imported when the command runs.
"""
