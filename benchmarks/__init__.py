"""Figures: what the function costs, as ratios to what it cannot do without. They are printed, never asserted."""
