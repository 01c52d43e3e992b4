//! What people and programs are told: one file per form.

pub mod terminal;
