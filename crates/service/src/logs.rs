//! What the service writes to standard error: one line for each event, as JSON for machines or as
//! text for people.

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Why nothing can be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter means nothing.
    #[error(
        "{filter:?} is no filter ({detail}): give a level such as info, or one for each part, as in info,hedgerow_astarte=debug"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What the library said.
        detail: String,
    },
    /// Another part of the process writes already.
    #[error("something else in this process writes the log already")]
    Taken,
}

/// Whether that filter means something.
///
/// # Errors
/// [`LogError::Filter`].
pub fn check(config: &LogConfig) -> Result<(), LogError> {
    filter(config).map(drop)
}

/// Writes from now on.
///
/// # Errors
/// [`LogError`].
pub fn begin(config: &LogConfig) -> Result<(), LogError> {
    let writing =
        tracing_subscriber::fmt().with_env_filter(filter(config)?).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Json => writing.json().flatten_event(true).try_init(),
        LogFormat::Text => writing.try_init(),
    }
    .map_err(|_| LogError::Taken)
}

fn filter(config: &LogConfig) -> Result<EnvFilter, LogError> {
    EnvFilter::builder().parse(&config.filter).map_err(|error| LogError::Filter {
        filter: config.filter.clone(),
        detail: error.to_string(),
    })
}
