//! The `lab` program from the outside: what it prints, its exit codes, what it leaves behind. The
//! lock lab is the example.

mod builds;
mod command_line;
mod faults;
mod greedy_nodes;
mod handed_in;
mod left_behind;
mod simulation;
mod spared;
mod terminal;
mod tried_by_hand;
mod trouble;
mod verdicts;
