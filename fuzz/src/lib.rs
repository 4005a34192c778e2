//! What several fuzz targets share.

pub mod campaign_world;
pub mod facts;
