//! The verbs of the `lab` program, one file each; each returns the program's exit code.

pub mod audit;
pub mod check;
pub mod grade;
pub mod overview;
pub mod replay;
pub mod reset;
pub mod run;
