//! The core: it decides, and does nothing else.

pub mod audit;
pub mod cloudevent;
pub mod decode;
pub mod egress;
pub mod encryption;
pub mod ending;
pub mod engine;
pub mod event;
pub mod expression;
pub mod headers;
pub mod health;
pub mod outcome;
pub mod pattern;
pub mod payload;
pub mod progress;
pub mod record;
pub mod registry;
pub mod retry;
pub mod secret;
pub mod signature;
pub mod source;
pub mod status;
pub mod subscription;
pub mod tiers;
pub mod transform;
pub mod units;
