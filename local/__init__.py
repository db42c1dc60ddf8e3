"""A cloud in a box for one machine: emulators, event bridge, demo, predict. Not deployed."""
