# SPDX-License-Identifier: GPL-2.0
"""What scripts/bench-report is made of."""
