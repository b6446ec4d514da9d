# SPDX-License-Identifier: GPL-2.0
"""Each operation: what selftests/bench/operations.c has measured.

DRIVER-operations1 and DRIVER-operations2 are the output of two boots.
"""

import csv

from .text import DRIVERS, die, differences, guest_lines, table

# To copy a page, or to clear it: a word at a time.
COPY = 512

INTRODUCTION = """\
# Each operation

Guest instructions a page, the least of several calls, for dmirror and for the C
driver on the same kernel.

gain
: what the C driver takes, divided by what dmirror takes

floor
: what the copies alone take that the operation is for, 512 instructions each: into
  or out of device memory, and into the caller's buffer; clearing counts as one

of floor
: what dmirror takes, divided by that

Lines without pages are of one call. `growth` is what it costs to register another
256 MiB of device memory; `close/512-known` closes a file through which the device
knows 512 pages.
"""


class Operations:
    """The output of a guest: {(operation, pages): (copies, instructions)}."""

    def __init__(self, path):
        self.cells = {}
        self.memory = {}
        for kind, *words in guest_lines(path):
            if kind == "operation":
                name, pages, copies, instructions = words
                self.cells[name, int(pages)] = int(copies), int(instructions)
            elif kind == "memory":
                name, count, size = words
                self.memory[name] = int(size) / int(count)

    def per_page(self, cell):
        """Instructions a page, or None."""
        if cell not in self.cells:
            return None
        return self.cells[cell][1] / cell[1]

    def floor(self, cell):
        """What its copies take, a page; 0 without."""
        return COPY * self.cells[cell][0]


def compare(first, second):
    """(Numbers compared, how many are equal, the largest difference, where)."""
    if list(first.cells) != list(second.cells):
        die("the two boots did not run the same")
    return differences([(f"{name} {pages}", took, second.cells[name, pages][1])
                        for (name, pages), (_, took) in first.cells.items()])


def sizes(boot):
    """The numbers of pages, in order."""
    return sorted({pages for _, pages in boot.cells})


def is_call(name):
    """Is it an operation that has nothing to do with pages?"""
    return "/" not in name or name.startswith("close")


def rows_of(ours, theirs, cells):
    """Rows of the table: name, ours, theirs, gain, floor, of floor."""
    rows = []
    for cell in cells:
        own, other, floor = ours.per_page(cell), theirs.per_page(cell), ours.floor(cell)
        rows.append([cell[0], f"{own:.0f}",
                     f"{other:.0f}" if other else "-",
                     f"{other / own:.2f}" if other else "-",
                     floor or "-",
                     f"{own / floor:.2f}" if floor else "-"])
    return rows


HEAD = ["operation", "dmirror", "C driver", "gain", "floor", "of floor"]


def tables(ours, theirs):
    """The text: calls, then a table for each number of pages, then memory."""
    text = [INTRODUCTION]
    calls = [cell for cell in ours.cells if is_call(cell[0])]
    text += ["## Without pages", table(HEAD, rows_of(ours, theirs, calls))]
    for pages in sizes(ours):
        cells = [cell for cell in ours.cells if cell[1] == pages and not is_call(cell[0])]
        if cells:
            text += [f"## {pages} page{'s'[:pages > 1]}",
                     table(HEAD, rows_of(ours, theirs, cells))]
    rows = [[name.replace("-", " "), f"{size:.1f}", f"{theirs.memory.get(name, 0):.1f}"]
            for name, size in ours.memory.items()]
    text += ["## Memory of the kernel", "Bytes for each, its page of contents included.",
             table(["what", "dmirror", "C driver"], rows)]
    return text


def write_csv(path, ours, theirs):
    """All numbers, for scripts/bench-compare and other programs."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["operation", "pages", *DRIVERS, "floor"])
        for cell in ours.cells:
            other = theirs.per_page(cell)
            out.writerow([*cell, f"{ours.per_page(cell):.3f}",
                          f"{other:.3f}" if other else "", ours.floor(cell)])
