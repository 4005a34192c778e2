//! The GraphQL API of Hedgerow, as a schema and a router that a service mounts.
