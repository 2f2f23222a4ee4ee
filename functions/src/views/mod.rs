//! Wire shapes: the domain's types as JSON. `shared` does not depend on HTTP.

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
