# SPDX-License-Identifier: GPL-2.0
"""One walk against two and three: what selftests/bench/onewalk.c has measured.

DRIVER-cost1 and DRIVER-cost2 have the instructions of each call in two boots;
DRIVER-count and DRIVER-windows what the kernel did in each call; DRIVER-two-cpus and
DRIVER-windows2 what it did with a second processor.
"""

import collections
import csv

from .text import DRIVERS, die, differences, guest_lines, table

STATES = {
    "populated": "populated",
    "hole": "hole: never touched, no page table",
    "empty": "empty entries in a page table",
    "zero": "page of zeroes",
    "huge": "huge page",
    "cow": "shared after fork",
    "swapped": "swapped out",
    "cached": "in the swap cache",
    "file": "private file mapping",
    "other": "on the other device",
    "there": "on this device already",
}
SEQUENCES = ("one", "two", "three")
WALKERS = ("hmm_vma_walk_pmd", "migrate_collect_pmd", "migrate_first_missing")
MAPPERS = ("__pte_offset_map", "pte_offset_map_lock", "pte_offset_map_ro_nolock",
           "pte_offset_map_rw_nolock")

INTRODUCTION = """\
# One walk, two walks, three walks

What it costs until pages in some state are on the device, and the device has them
in its page table, in guest instructions a page.

one
: a device fault that migrates: MIGRATE_ON_FAULT_TO_DEV, or for a write fault
  MIGRATE_ON_WRITE_FAULT_TO_DEV

two
: a device fault in place, then MIGRATE_TO_DEV

three
: MIGRATE_TO_DEV, a device fault in place, MIGRATE_TO_DEV

alone
: MIGRATE_TO_DEV by itself, where that moves all. It does not do what a fault
  does: check permissions, break a copy-on-write, tell what stayed. A driver that
  tries it first saves the rest of *three* there.

The device fault in place is a READ or a WRITE, which also copies the data, and
MIGRATE_TO_DEV copies to the caller's buffer what has moved. These copies are
subtracted: of a READ or WRITE the same call again, when the device has the pages;
of MIGRATE_TO_DEV a READ of the pages on the device, or where none had moved, a
READ that is refused at the first page (which is some hundred instructions too
much). So each sequence pays for one entry into the driver, and none for data, but
for the one copy into the device.

Each number is the least of several rounds, for each call. The pages in swap are
such that zram keeps them as one word: the swap device costs next to nothing. Both
drivers take huge pages and aligned holes whole.
"""

COUNTS = """\
# What the kernel does

With one page table, 512 pages. The calls that only copy are left out.

visits
: of the page table, or of the empty or huge entry in its place, by walks of
  `hmm_range_fault()` and of `migrate_vma`. *Collecting*: those that collect what
  moves. The C driver calls `hmm_range_fault()` for 32 pages at a time, so that 16
  visits are one walk. dmirror looks once more after MIGRATE_TO_DEV if not all pages
  have moved, as some may have been there. Pages on the other device come home by a
  migration of up to 16.

looks
: how often such walks, and what decides about faults, map the page table. The
  collecting walk does it twice if it may fault: without the lock, to see what is
  missing, and with the lock, to collect.

entries
: that these read: how often the busiest instruction of each function ran

faults
: calls of `handle_mm_fault()`

mapped
: how often a page table is mapped, by anybody: also by faults, to put a page where
  nothing was, and for pages that others share when they are put back

notifiers
: calls of `mmu_notifier_invalidate_range_start()` with a subscriber

flushes
: of the TLB, by `flush_tlb_mm_range()`

The last three are from a boot of its own, where time is real, with a thread of the
process running on a second processor, where the pages were touched last. They are of
both processors, and may be one more or less the next time:

IPIs
: interrupts for TLB shootdown: a flush needs none if that processor happens to be in
  the kernel

drains
: calls of `lru_add_drain_all()`, which wait for all processors

waits
: how often a lock of the kernel was not to be had at once: spinlock, mutex or rwsem
"""


class Steps:
    """The output of a guest: {(state, access, pages, sequence): {step: (number, result)}}."""

    def __init__(self, path):
        self.cells = collections.defaultdict(dict)
        self.order = []
        for kind, *words in guest_lines(path):
            if kind == "step":
                state, access, pages, sequence, step, number, result = words
                cell = (state, access, int(pages), sequence)
                self.cells[cell][step] = (int(number), int(result))
                self.order.append((cell, step))

    def reference(self, pages):
        """(The way into the driver, a READ that is refused), in instructions."""
        steps = self.cells["-", "read", pages, "reference"]
        return steps["enter"][0], steps["refused"][0]

    def sizes(self):
        return sorted({pages for _, _, pages, _ in self.cells})

    def rows(self, pages):
        """The (state, access) that were measured at this size."""
        return list(dict.fromkeys(
            (state, access) for state, access, size, _ in self.cells
            if size == pages and state != "-"))


def costs(steps, state, access, pages):
    """{column: instructions a page}, without what only copies."""
    enter, refused = steps.reference(pages)
    found = {}

    def cell(sequence):
        return steps.cells.get((state, access, pages, sequence))

    def number(sequence, step):
        return cell(sequence)[step][0]

    def migration(sequence, step):
        count, result = cell(sequence)[step]
        return count - (number(sequence, "read") if result == pages else refused)

    def fault(sequence):
        return number(sequence, "fault") - number(sequence, "copy")

    if cell("one"):
        found["one"] = number("one", "one")
    if cell("two"):
        found["two"] = fault("two") + migration("two", "take") + enter
    if cell("three"):
        first = migration("three", "first")
        found["three"] = first + fault("three") + migration("three", "take") + enter
        if cell("three")["first"][1] == pages and (state, access) != ("file", "read"):
            found["alone"] = first + enter
    return {column: count / pages for column, count in found.items()}


class Windows:
    """What the plugin counted: for each window, functions and their callers."""

    def __init__(self, path):
        self.ran = collections.defaultdict(dict)
        self.called = collections.defaultdict(dict)
        for line in path.read_text(encoding="utf-8").splitlines():
            window, kind, *words = line.split()
            if kind == "ran":
                name, *numbers = words
                self.ran[int(window)][name] = tuple(map(int, numbers))
            else:
                caller, callee, count = words
                self.called[int(window)][caller, callee] = int(count)

    def calls(self, window, name):
        return self.ran[window].get(name, (0, 0, 0))[0]

    def summary(self, window):
        """One window as a Counter of the columns."""
        ran, called = self.ran[window], self.called[window]
        sums = collections.Counter()

        def calls(name):
            return self.calls(window, name)

        def edges(callers, callees):
            return sum(count for (caller, callee), count in called.items()
                       if caller in callers and callee in callees)

        # Those of a page table are counted as its visit.
        holes = calls("migrate_collect_hole") - edges({"migrate_collect_pmd"},
                                                      {"migrate_collect_hole"})
        sums["collecting"] = calls("migrate_collect_pmd") + holes
        sums["visits"] = (sums["collecting"] + calls("hmm_vma_walk_pmd") +
                          edges({"walk_pgd_range"}, {"hmm_vma_walk_hole"}))
        sums["looks"] = edges(WALKERS, MAPPERS)
        sums["entries"] = (edges({"walk_pgd_range"}, {"hmm_vma_walk_hole"}) +
                           holes)
        for name in WALKERS:
            looks = edges({name}, MAPPERS)
            if looks:
                # The loop's head runs once more than its body, at most.
                rounds = ran[name][1]
                sums["entries"] += rounds - rounds % 512 if rounds % 512 <= looks else rounds
            else:
                sums["entries"] += calls(name)
        sums["faults"] = calls("handle_mm_fault")
        sums["mapped"] = (sum(map(calls, MAPPERS)) -
                          edges(MAPPERS[1:], MAPPERS[:1]))
        sums["notifiers"] = calls("__mmu_notifier_invalidate_range_start")
        sums["flushes"] = calls("flush_tlb_mm_range")
        return sums


COUNT_COLUMNS = ("visits", "collecting", "looks", "entries", "faults", "mapped", "notifiers",
                 "flushes", "IPIs", "drains", "waits")
WAITS = ("queued_spin_lock_slowpath", "__mutex_lock_slowpath", "rwsem_down_read_slowpath",
         "rwsem_down_write_slowpath")
COPYING = ("copy", "read")


def counts(raw, driver):
    """{(state, access, sequence): Counter}, of the calls that do not only copy."""
    steps, beside = Steps(raw / f"{driver}-count"), Steps(raw / f"{driver}-two-cpus")
    windows, windows2 = (Windows(raw / f"{driver}-{name}") for name in ("windows", "windows2"))
    if steps.order != beside.order:
        die("the boots with one and with two processors did not run the same")
    found = collections.defaultdict(collections.Counter)
    for window, (cell, step) in enumerate(steps.order):
        state, access, _, sequence = cell
        if state != "-" and step not in COPYING:
            sums = found[state, access, sequence]
            sums.update(windows.summary(window))
            sums["IPIs"] += beside.cells[cell][step][0]
            sums["drains"] += windows2.calls(window, "__lru_add_drain_all")
            sums["waits"] += sum(windows2.calls(window, name) for name in WAITS)
    return found


def compare(first, second):
    """(Numbers compared, how many are equal, the largest difference, where)."""
    if first.order != second.order:
        die("the two boots did not run the same")
    numbers = []
    for cell, step in first.order:
        a, b = first.cells[cell][step], second.cells[cell][step]
        if a[1] != b[1]:
            die(f"{cell} {step}: results differ: {a[1]} and {b[1]}")
        numbers.append((" ".join(map(str, (*cell, step))), a[0], b[0]))
    return differences(numbers)


def ratio(costs_of, column):
    if column not in costs_of:
        return "-"
    return f"{costs_of[column] / costs_of['one']:.2f}"


def cost_tables(folder, boots):
    """The text; writes onewalk.csv."""
    text = []
    columns = (*SEQUENCES, "alone")
    with open(folder / "onewalk.csv", "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["driver", "state", "access", "pages", *columns, "two/one", "three/one"])
        for driver, (steps, _) in boots.items():
            for pages in steps.sizes():
                rows = []
                for state, access in steps.rows(pages):
                    cost = costs(steps, state, access, pages)
                    ratios = [ratio(cost, "two"), ratio(cost, "three")]
                    out.writerow([driver, state, access, pages,
                                  *(f"{cost[c]:.3f}" if c in cost else "" for c in columns),
                                  *(r.strip("-") for r in ratios)])
                    rows.append([STATES[state], access,
                                 *(f"{cost[c]:.0f}" if c in cost else "-" for c in columns),
                                 *ratios])
                text += [f"# {DRIVERS.get(driver, driver)}: {pages} page{'s'[:pages > 1]}",
                         table(["state", "fault", *columns, "two/one", "three/one"], rows)]
    return text


def count_tables(folder, drivers):
    """The text; writes onewalk-counts.csv."""
    text = [COUNTS]
    with open(folder / "onewalk-counts.csv", "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["driver", "state", "access", "sequence", *COUNT_COLUMNS])
        for driver in drivers:
            rows = []
            for (state, access, sequence), sums in counts(folder / "raw", driver).items():
                numbers = [sums[column] for column in COUNT_COLUMNS]
                out.writerow([driver, state, access, sequence, *numbers])
                rows.append([STATES[state], access, sequence, *numbers])
            text += [f"## {DRIVERS.get(driver, driver)}",
                     table(["state", "fault", "walks", *COUNT_COLUMNS], rows)]
    return text


