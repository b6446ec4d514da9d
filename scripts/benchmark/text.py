# SPDX-License-Identifier: GPL-2.0
"""What the parts of the report share."""

import sys

DRIVERS = {"dmirror": "dmirror", "test_hmm": "the C driver, test_hmm"}


def die(text):
    """Ends the program."""
    sys.exit(f"bench-report: {text}")


def guest_lines(path):
    """The words of each line that a guest has printed, which must have come to its end."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[-1] != "done":
        die(f"{path} is not complete")
    return [line.split() for line in lines[:-1]]


def differences(numbers):
    """Of (where, a number, the same in another boot): (how many there are, how many are
    equal, the largest difference, where that is)."""
    equal, worst, place = 0, 0.0, "-"
    for where, a, b in numbers:
        equal += a == b
        apart = abs(a - b) / min(a, b)
        if apart > worst:
            worst, place = apart, where
    return len(numbers), equal, worst, place


def table(head, rows):
    """Markdown, with numbers to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    words = [rows and not rows[0][i][:1].isdigit() and rows[0][i] != "-"
             for i in range(len(head))]

    def line(cells):
        return "| " + " | ".join(
            cell.ljust(width) if word else cell.rjust(width)
            for cell, width, word in zip(cells, widths, words)) + " |"

    rule = [("-" * width) if word else "-" * (width - 1) + ":"
            for width, word in zip(widths, words)]
    return "\n".join([line(head), line(rule), *map(line, rows)])
