//! What sender and receiver see of each fault, and what a disk keeps, on both engines.

mod cuts;
mod disk;
mod wire;
