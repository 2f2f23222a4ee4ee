//! Wire shapes: what the domain returns, as JSON. `shared` knows nothing of HTTP.

mod deliveries;
mod families;
mod messages;
pub mod shapes;
mod threads;
mod timestamp;

pub use deliveries::DeliveryView;
pub use families::{FamilyView, UserView};
pub use messages::{HistoryView, MessageView};
pub use threads::{InboxEntryView, ThreadView};
pub use timestamp::Timestamp;
