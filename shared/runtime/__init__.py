"""Runtime services: event deadline, event record, JSON logs, and the CPUs and memory of the machine."""
