//! MQTT 3.1.1 as Astarte's broker speaks it: framing, topics, sessions, and the connections of
//! devices.

pub(crate) mod connection;
pub(crate) mod frame;
pub(crate) mod session;
pub(crate) mod topic;
