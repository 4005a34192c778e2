//! The GraphQL API of Hedgerow, as a schema and a router that a service mounts.
//!
//! It is Edgehog's API, version 0.13, as far as updates go, so that its dashboard and the scripts of
//! its users work with it; what Hedgerow knows beyond that is in fields and types beside Edgehog's.
//! [`Api`] is put together from an engine and what else there is, and gives a router.
//!
//! | Module | What |
//! |---|---|
//! | [`auth`] | who asks: tokens and roles, also for other parts of a service |
//! | `api` | what the API is put together from, its limits |
//! | `http`, `multipart`, `socket`, `phoenix`, `graphql_ws`, `origins` | requests and sockets |
//! | `document` | documents are looked through before anything walks them |
//! | `schema`, `lists`, `record` | the schema from its text, and what its fields are answered from |
//! | `connection`, `filter` | pages of lists |
//! | `queries`, `mutations`, `subscriptions`, `feeds` | the three roots |
//! | `types` | the objects |
//! | `errors`, `id` | errors and ids as clients know them |

#![warn(missing_debug_implementations)]

mod api;
pub mod auth;
mod connection;
mod document;
mod errors;
mod feeds;
mod filter;
mod graphql_ws;
mod http;
mod id;
mod lists;
mod multipart;
mod mutations;
mod origins;
mod phoenix;
mod queries;
mod record;
mod schema;
mod socket;
mod subscriptions;
mod types;

pub use api::{Api, Limits, sdl};
pub use auth::Role;
pub use origins::Origins;
pub use schema::SchemaError;
