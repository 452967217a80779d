//! Whole composed chats, and the prompts that templates of four kinds write.

mod composed;
mod styles;
mod support;
