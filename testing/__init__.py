"""What tests and benchmarks share: models with known answers, stores, faults, and hostile files."""
