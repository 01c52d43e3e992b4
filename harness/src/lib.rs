//! The harness: builds a lab, starts real nodes, breaks things, checks what clients saw, grades.

#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod build;
pub mod checker;
pub mod clean;
pub mod cluster;
pub mod explore;
pub mod files;
pub mod gaps;
pub mod grade;
pub mod history;
pub mod lab;
pub mod labs;
pub mod output;
pub mod preflight;
pub mod report;
pub mod simulation;
pub mod sources;
pub mod submission;
pub mod variant;
pub mod verbs;
pub mod verdict;
pub mod workload;
pub mod workspace;

pub use fabric;
