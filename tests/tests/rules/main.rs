//! What is right: checks on histories and messages written by hand, and how labs and answers fit
//! together. Nothing is started.

mod bounded;
mod checkers;
mod gap_files;
mod judged;
mod lab_code;
mod layout;
mod leading;
mod linearizable;
mod odd_answers;
mod raft_rules;
mod schedules;
mod several_keys;
mod weather;
