//! Whole composed calls, with workers that are functions.

mod compare;
mod lists;
mod support;
