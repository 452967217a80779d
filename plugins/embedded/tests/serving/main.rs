//! The worker through its own door: whole calls, stepped to their ends.

mod common;
mod generation;
mod tasks;
