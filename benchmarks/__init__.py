"""Measure what the function costs, as ratios to unavoidable work. Figures are printed, not asserted."""
