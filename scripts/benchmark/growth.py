# SPDX-License-Identifier: GPL-2.0
"""What grows with what: selftests/bench/growth.c."""

import collections
import csv
import itertools
import math

from .text import DRIVERS, guest_lines, table

INTRODUCTION = """\
# Growth

pages
: instructions a page, with so many pages in one call

files
: instructions of a call for 64 pages, with so many files of the device open beside
  in the same process. The device of each mirrors the whole address space, and each
  has to hear of each change.

used
: instructions of a call for one page, with so many pages on the device beside
"""

TITLES = {"pages": "a page, by pages of a call", "files": "a call, by open files",
          "used": "a call, by pages on the device"}
# By how much a cost may rise, of dmirror. The kernel's own share grows, too, as memory
# that is given back is put together: as many instructions as the C driver's call grows
# by are allowed beside, but for what it does wrong, in parts of the least.
FLAT = 1.05
MOST_OF_KERNEL = 0.5
# Of a call, what is searched in a balanced tree may cost so much more each time that
# the device has twice as many blocks in use; from so many pages on that is looked at
# each time, which shows what grows with the number of chunks.
BLOCK_PAGES = 512
MOST_PER_DOUBLING = 120
DOUBLINGS_FROM = 262144
# With each file, a change of the address space may cost so many instructions more for
# its notification, and there is one before and one after.
MOST_PER_FILE = 200
# The changes in an operation on 64 pages, if more than one.
CHANGES = {"cpu-fault": 64}


class Growth:
    """{quantity: {operation: {number: instructions}}}; for pages, instructions a page."""

    def __init__(self, path):
        self.quantities = collections.defaultdict(lambda: collections.defaultdict(dict))
        for _, quantity, operation, number, took in guest_lines(path):
            number, took = int(number), int(took)
            if quantity == "pages":
                took /= number
            self.quantities[quantity][operation][number] = took


def steepness(line, quantity):
    """The most that it rises by, from fewer to more: (from what, to what)."""
    # What a call costs at all is spread over its pages.
    costs = [line[number] for number in sorted(line) if quantity != "pages" or number >= 512]
    rises = zip(itertools.accumulate(costs, min), costs)
    return max(rises, key=lambda rise: rise[1] - rise[0])


def too_steep(ours, theirs):
    """What grows more than it may, one line each."""
    found = []
    for quantity, operations in ours.quantities.items():
        for operation, line in operations.items():
            least, most = steepness(line, quantity)
            low, high = steepness(theirs.quantities[quantity][operation], quantity)
            if quantity == "files":
                slope = (line[max(line)] - line[min(line)]) / (max(line) - min(line))
                if slope > MOST_PER_FILE * CHANGES.get(operation, 1):
                    found.append(f"{operation}: {slope:.0f} instructions more with each file")
                continue
            allowed = FLAT * least + min(high - low, MOST_OF_KERNEL * least)
            if quantity == "used":
                allowed += MOST_PER_DOUBLING * math.log2(1 + max(line) / BLOCK_PAGES)
                for number in line:
                    more = line.get(2 * number, 0) - line[number]
                    if number >= DOUBLINGS_FROM and more > MOST_PER_DOUBLING:
                        found.append(f"{operation}: {more:.0f} more from {number} pages on "
                                     "the device to twice as many")
            if most > allowed:
                found.append(f"{operation} by {quantity}: from {least:.0f} to {most:.0f}")
    return found


def tables(growths):
    """The text."""
    text = [INTRODUCTION]
    for driver, growth in growths.items():
        for quantity, operations in growth.quantities.items():
            numbers = sorted({number for line in operations.values() for number in line})
            rows = [[operation, *(f"{line[n]:.0f}" if n in line else "-" for n in numbers)]
                    for operation, line in operations.items()]
            text += [f"## {DRIVERS[driver]}: {TITLES[quantity]}",
                     table(["operation", *map(str, numbers)], rows)]
    return text


def write_csv(path, growths):
    """All numbers."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["driver", "quantity", "operation", "number", "instructions"])
        for driver, growth in growths.items():
            for quantity, operations in growth.quantities.items():
                for operation, line in operations.items():
                    for number, took in line.items():
                        out.writerow([driver, quantity, operation, number, f"{took:.3f}"])
