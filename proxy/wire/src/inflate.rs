//! Bounded decompression.
