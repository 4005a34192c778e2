//! What this build of the command was made without. Whoever asks for it is told what to type.

use std::ffi::OsString;
use std::process::ExitCode;

/// Says that what was asked for needs a feature that was not built, and how to have it. That is
/// wrong usage, of this build.
pub(crate) fn say(feature: &str) -> ExitCode {
    eprintln!("{}", what_to_type(feature, std::env::args_os().skip(1)));
    ExitCode::from(2)
}

fn what_to_type(feature: &str, arguments: impl Iterator<Item = OsString>) -> String {
    let arguments: Vec<String> = arguments.map(|word| quoted(&word.to_string_lossy())).collect();
    format!(
        "error: this `hedgerow` was built without `{feature}`, because building it takes long; in \
         a clone of the project, type:\n    cargo run --release --features {feature} -- {}",
        arguments.join(" ")
    )
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./=:,".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The command `astarte`, which takes whatever it is given.
#[cfg(not(feature = "astarte"))]
pub(crate) mod astarte {
    use std::ffi::OsString;
    use std::process::ExitCode;

    /// Set an Astarte realm up for updates: not in this build, which says how to have it
    #[derive(clap::Args)]
    #[command(disable_help_flag = true)]
    pub(crate) struct AstarteArgs {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _any: Vec<OsString>,
    }

    pub(crate) fn run(_: &AstarteArgs) -> ExitCode {
        super::say("astarte")
    }
}

/// The commands of a service, which take whatever they are given.
#[cfg(not(feature = "serve"))]
pub(crate) mod serve {
    use std::ffi::OsString;
    use std::process::ExitCode;

    /// What any of them is given.
    #[derive(clap::Args)]
    pub(crate) struct Any {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _any: Vec<OsString>,
    }

    macro_rules! left_out {
        ($(#[$about:meta] $args:ident, $run:ident;)*) => {$(
            #[$about]
            #[derive(clap::Args)]
            #[command(disable_help_flag = true)]
            pub(crate) struct $args {
                #[command(flatten)]
                _any: Any,
            }

            pub(crate) fn $run(_: &$args) -> ExitCode {
                super::say("serve")
            }
        )*};
    }

    left_out! {
        /// Serve campaigns over GraphQL: not in this build, which says how to have it
        ServeArgs, run;
        /// Steer the campaigns of a running service: not in this build, which says how to have it
        CampaignArgs, campaign;
        /// The system models of a running service: not in this build, which says how to have it
        ModelArgs, model;
        /// Upload images to a running service: not in this build, which says how to have it
        ImageArgs, image;
        /// The groups of a running service: not in this build, which says how to have it
        GroupArgs, group;
        /// The channels of a running service: not in this build, which says how to have it
        ChannelArgs, channel;
        /// Sign tokens for a service: not in this build, which says how to have it
        TokenArgs, token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_what_to_type_with_the_feature() {
        let arguments = ["simulate", "--plot", "my fleet.svg"].map(OsString::from);
        let text = what_to_type("plot", arguments.into_iter());
        let wanted = "cargo run --release --features plot -- simulate --plot 'my fleet.svg'";
        assert!(text.ends_with(wanted), "{text}");
    }
}
