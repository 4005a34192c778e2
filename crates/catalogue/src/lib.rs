//! What update campaigns are made from, for Hedgerow: system models, base images, channels, groups and devices.

pub mod files;
