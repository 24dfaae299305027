//! The composition root: opens, binds, wires, runs, drains.
