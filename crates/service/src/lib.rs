//! Hedgerow put together from one configuration file: engine, store, Astarte, catalogue and GraphQL API.
