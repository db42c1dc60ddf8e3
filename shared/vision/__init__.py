"""Arrays to arrays, in numpy and Pillow: knows no model, no tenant and no cloud."""
