//! What happened, folded from audit records: which are wanted, what they come to in figures, and the story of one event.
//!
//! Everything here is given records and times; nothing looks anything up.

mod figures;
mod filter;
mod story;

pub use figures::{Figures, Latencies};
pub use filter::{Filter, Span};
pub use story::{Delivery, Phase, Produced, Story, Subject, Waiting};
