"""Broken and hostile files of every kind that strangers send, and what the code does with them.

    python -m tests.fuzz                 the whole campaign
    python -m tests.fuzz png --cases 50  a part of it

Every case is made from a seed alone, so that a fault can be made again. A case is good when the file is taken, or is
refused with an error of `crrn.errors` whose message is one line. Everything else is a fault: another error, a crash, a
hang, a warning, memory without bound, or a file outside of the output folder.
"""
