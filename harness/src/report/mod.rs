//! What people and programs are told: one file per form.

pub mod json;
pub mod story;
pub mod terminal;
