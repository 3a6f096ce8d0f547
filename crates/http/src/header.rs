//! Headers: how their values are read and written, whichever request or answer they belong to.
//!
//! * `accept`: what a client takes. `parameters`: values such as a content type with its boundary.
//! * `date`, `request_id`: what every answer carries.

pub(crate) mod accept;
pub(crate) mod date;
pub(crate) mod parameters;
pub(crate) mod request_id;
