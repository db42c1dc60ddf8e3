"""The runtime of an event: its deadline, its log record, and the CPUs and memory of the machine."""
