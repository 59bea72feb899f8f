//! The core: it decides, and does nothing else.

pub mod source;
