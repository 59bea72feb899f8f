//! The core: it decides, and does nothing else.

pub mod decode;
pub mod event;
pub mod progress;
pub mod record;
pub mod source;
pub mod subscription;
