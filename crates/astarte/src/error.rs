//! Why Astarte did not do what it was asked, and which class of D10 that is.

use hedgerow_core::{RequestAnswer, TransportError};

use crate::TokenError;

/// Why a call to Astarte failed. No text in it has the query of a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// No answer came.
    #[error("astarte could not be reached: {detail}")]
    Unreachable {
        /// What went wrong.
        detail: String,
    },
    /// No answer came to the last calls, so this one was not made.
    #[error(
        "astarte could not be reached by the last calls: this one was not made, a later one will be"
    )]
    NotTried,
    /// Astarte refused.
    #[error("{method} {path} was answered {status}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Astarte's own words.
        detail: String,
        /// The method of the request.
        method: String,
        /// The path behind the realm, as the claims of tokens name it.
        path: String,
        /// The claim that a token needs for this API.
        claim: &'static str,
    },
    /// Something between here and Astarte answered in its place.
    #[error(
        "{method} {path} was answered {status}, but not by astarte: look at the base URL and at proxies ({detail})"
    )]
    NotAstarte {
        /// The HTTP status.
        status: u16,
        /// The beginning of what was answered.
        detail: String,
        /// The method of the request.
        method: String,
        /// The path behind the realm.
        path: String,
    },
    /// The answer is not what this version of Hedgerow knows.
    #[error("the answer to {method} {path} cannot be read: {detail}")]
    Unreadable {
        /// What is wrong with it.
        detail: String,
        /// The method of the request.
        method: String,
        /// The path behind the realm.
        path: String,
    },
    /// There is no token to ask with.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The tenant is no realm that was configured.
    #[error("tenant {tenant} is not configured: add its realm")]
    UnknownTenant {
        /// The tenant.
        tenant: String,
    },
}

impl ApiError {
    /// Whether Astarte itself refused, for a reason that lies in what was asked and not in the
    /// realm's permissions or its load (D10).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                let answer = RequestAnswer::of_http_status(*status, TransportError::new(""));
                matches!(answer, RequestAnswer::Permanent(_))
            }
            _ => false,
        }
    }

    /// Whether the device or group that was asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the token does not allow it.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { status: 403, .. })
    }

    /// What the engine is told.
    pub(crate) fn into_answer(self) -> RequestAnswer {
        let permanent = self.is_permanent();
        let error = self.into();
        if permanent { RequestAnswer::Permanent(error) } else { RequestAnswer::Temporary(error) }
    }
}

impl From<ApiError> for TransportError {
    fn from(error: ApiError) -> Self {
        Self::new(error.to_string())
    }
}
