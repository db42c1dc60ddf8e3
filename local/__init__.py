"""The local stack: storage, Pub/Sub and the functions on one machine, and commands that use them. Not deployed."""
