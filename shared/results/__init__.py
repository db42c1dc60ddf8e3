"""Results: what is written for the outside, and which writer may replace which object."""
