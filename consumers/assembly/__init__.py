"""Assembly: all wiring. The parts of one queue's worker are made group by group, each of those before it."""
