//! The core: it decides, and does nothing else.

pub mod decode;
pub mod event;
pub mod record;
pub mod source;
