//! `hedgerow astarte install`: puts interfaces, a delivery policy and triggers into a realm.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use hedgerow_astarte::provisioning::{
    Action, Change, InstallError, InstallSettings, InstallSettingsError, Installation, Plan,
};
use hedgerow_astarte::{
    ApiError, Credentials, HttpConnections, HttpSettings, RealmClient, RealmManagement,
    SettingsError, TokenError,
};
use hedgerow_core::{IdError, TenantId};
use serde_json::json;

/// Files with keys and secrets are small.
const LARGEST_FILE: u64 = 64 * 1024;

/// Put the interfaces, the delivery policy and the triggers that updates need into a realm
#[derive(Args)]
#[command(after_help = "\
Examples:
  hedgerow astarte install --url https://api.astarte.example --realm gardens \\
      --key gardens_private.pem --events-url https://updates.example/triggers --dry-run
  hedgerow astarte install ... --check && echo everything is there

Doing it twice changes nothing the second time. Interfaces are added and updated, never removed;
the policy and the triggers, whose names begin with `hedgerow-`, are made anew if they differ, under
a name with a number, and the old ones are deleted only then. What Astarte refuses stops nothing
else. What an older Astarte does not have is left out and named.
Without --secret-file the triggers have no headers: those of an earlier installation are removed.

Exit status: 0 done, or nothing is missing that this Astarte has; 1 with --check: something is missing
or differs;
2 wrong usage, or a key, token or secret that cannot be used; 3 Astarte refused or failed.")]
// Each is a switch of the command line.
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct InstallArgs {
    /// What Astarte's APIs lie below, as in URL/realmmanagement/v1/REALM
    #[arg(long, value_name = "URL")]
    url: String,
    /// The realm
    #[arg(long)]
    realm: String,
    /// The realm's private key, in PEM
    #[arg(long, value_name = "FILE", required_unless_present = "token_file")]
    key: Option<PathBuf>,
    /// A token for Realm Management, in place of the key
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    token_file: Option<PathBuf>,
    /// Where the triggers deliver to: the service's trigger endpoint
    #[arg(long, value_name = "URL")]
    events_url: String,
    /// A secret that every delivery has in a header, and the endpoint asks for
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The name of that header
    #[arg(long, value_name = "NAME", default_value = "X-Hedgerow-Secret")]
    secret_header: String,
    /// Install version 0.2 of the interface of reports, which devices keep until they are sent.
    /// Devices need it too: it cures that the newest Linux runtime loses its final report
    #[arg(long)]
    stored_events: bool,
    /// Also install the interface on which devices show their part numbers, and a trigger for it:
    /// `hedgerow serve` finds a device's system model by it
    #[arg(long)]
    system_info: bool,
    /// A certificate that is trusted beside those of the machine, in PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do nothing, and exit with 1 if something is missing or differs
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("{} cannot be read ({source}): look at the path and its permissions", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not text: give keys and certificates in PEM, not in DER", path.display())]
    NotText { path: PathBuf },
    #[error("{} is larger than a key, token or secret can be: is it the right file?", path.display())]
    TooLarge { path: PathBuf },
    #[error(transparent)]
    Realm(#[from] IdError),
    #[error("{}: {source}", path.display())]
    Token { path: PathBuf, source: TokenError },
    #[error("{}: {source}", path.display())]
    Secret { path: PathBuf, source: InstallSettingsError },
    #[error("{} holds no certificate that can be read: give it in PEM", path.display())]
    Certificate { path: PathBuf },
    #[error("--url: {0}")]
    Settings(#[from] SettingsError),
    #[error("--events-url: {0}")]
    EventsUrl(#[from] InstallSettingsError),
    #[error(
        "realm {realm} at {url}: {source}; {}. Everything else that could be done is done: run the command again afterwards",
        advice(source)
    )]
    Install { realm: String, url: String, source: Box<InstallError> },
    #[error("{0}")]
    Runtime(std::io::Error),
    #[error("standard output: {0}")]
    Output(std::io::Error),
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Install { .. } | Self::Runtime(_) | Self::Output(_) => 3,
            _ => 2,
        }
    }
}

/// What to do about a failure.
fn advice(error: &InstallError) -> &'static str {
    match error {
        InstallError::Forbidden { .. } => {
            "give a token whose claim has these entries, or the realm's private key"
        }
        InstallError::Conflict { .. } => {
            "ask who made it: devices and data hang on it, so that it is not changed here"
        }
        InstallError::Refused { .. } | InstallError::Incomplete { .. } => {
            "look at what Astarte says of each"
        }
        InstallError::Api(ApiError::Unreachable { .. } | ApiError::NotTried) => {
            "look at --url, the network and, if its certificate is one of your own, at --ca"
        }
        InstallError::Api(ApiError::Refused { status: 401, .. }) => {
            "look at --realm, and at the key or token: it must be this realm's, and not expired"
        }
        InstallError::Api(ApiError::Refused { status: 500.., .. }) => {
            "look at Astarte's own logs, or try again later"
        }
        _ => "look at --url, --realm and --events-url",
    }
}

pub(crate) fn run(args: &InstallArgs) -> ExitCode {
    match install(args) {
        Ok(is_done) => ExitCode::from(u8::from(args.check && !is_done)),
        Err(error) => {
            // Nobody may listen.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// `true` if everything is there now.
fn install(args: &InstallArgs) -> Result<bool, CommandError> {
    let tenant: TenantId = args.realm.parse()?;
    let installation = Installation::new(&settings(args)?);
    let realm = RealmManagement::new(client(args, &tenant)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)?;
    let failed = |source| {
        let (realm, url) = (args.realm.clone(), args.url.clone());
        CommandError::Install { realm, url, source: Box::new(source) }
    };
    runtime.block_on(async {
        let plan = installation.plan(&realm).await.map_err(failed)?;
        let only_looks = args.dry_run || args.check;
        if !only_looks {
            plan.apply(&realm).await.map_err(failed)?;
        }
        print(args, &plan, only_looks).map_err(CommandError::Output)?;
        if only_looks {
            plan.check().map_err(failed)?;
        }
        Ok(plan.is_done() || !only_looks)
    })
}

fn settings(args: &InstallArgs) -> Result<InstallSettings, CommandError> {
    let mut settings = InstallSettings::new(&args.events_url)?;
    if let Some(path) = &args.secret_file {
        settings = settings
            .with_secret(&args.secret_header, read(path)?.trim())
            .map_err(|source| CommandError::Secret { path: path.clone(), source })?;
    }
    let settings = if args.system_info { settings.with_system_info() } else { settings };
    Ok(if args.stored_events { settings.with_stored_events() } else { settings })
}

fn client(args: &InstallArgs, tenant: &TenantId) -> Result<RealmClient, CommandError> {
    let mut http = HttpSettings::default();
    if let Some(path) = &args.ca {
        http.root_certificates.push(read(path)?);
    }
    let credentials = match (&args.key, &args.token_file) {
        (Some(path), _) => Credentials::private_key(&read(path)?).map_err(|e| unusable(path, e))?,
        (None, Some(path)) => Credentials::token(&read(path)?).map_err(|e| unusable(path, e))?,
        // The parser asks for one of them.
        (None, None) => Credentials::token("").map_err(|e| unusable(Path::new("--key"), e))?,
    };
    let connections = HttpConnections::new(&http).map_err(|error| match (error, &args.ca) {
        (SettingsError::RootCertificate { .. }, Some(path)) => {
            CommandError::Certificate { path: path.clone() }
        }
        (error, _) => error.into(),
    })?;
    Ok(RealmClient::new(&connections, &args.url, tenant.as_str(), credentials)?)
}

fn unusable(path: &Path, source: TokenError) -> CommandError {
    CommandError::Token { path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<String, CommandError> {
    let failed = |source| CommandError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > LARGEST_FILE {
        return Err(CommandError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(std::fs::read(path).map_err(failed)?)
        .map_err(|_| CommandError::NotText { path: path.to_owned() })
}

fn print(args: &InstallArgs, plan: &Plan, only_looks: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = json!({
            "realm": args.realm, "astarte": plan.astarte_version(), "changes": plan.changes(),
            "applied": !only_looks,
            "complete": plan.is_done() || !only_looks,
        });
        return writeln!(out, "{report}");
    }
    for change in plan.changes() {
        print_change(&mut out, change, only_looks)?;
    }
    let of = |is: fn(&Action) -> bool| plan.changes().iter().filter(|c| is(&c.action)).count();
    let lacking = of(|action| matches!(action, Action::Unsupported { .. }));
    let open = of(|action| !matches!(action, Action::Keep | Action::Unsupported { .. }));
    if lacking > 0 {
        let version = plan.astarte_version().unwrap_or("of an unknown version");
        writeln!(out, "Astarte {version} does not have {lacking} of these: updates go on without")?;
    }
    match (open, only_looks) {
        (0, _) => writeln!(out, "realm {} has everything that updates need", args.realm),
        (open, true) => writeln!(out, "realm {}: {open} to do; nothing was changed", args.realm),
        (open, false) => writeln!(out, "realm {}: {open} done", args.realm),
    }
}

fn print_change(out: &mut impl Write, change: &Change, only_looks: bool) -> std::io::Result<()> {
    let Change { kind, name, action, .. } = change;
    let (done, to_do) = match action {
        Action::Keep => ("there", "there"),
        Action::Create => ("created", "create"),
        Action::Update { .. } => ("updated", "update"),
        Action::Replace { .. } => ("replaced", "replace"),
        Action::Unsupported { .. } => ("lacking", "lacking"),
        Action::Conflict { .. } => ("conflict", "conflict"),
        _ => ("unread", "unread"),
    };
    let word = if only_looks { to_do } else { done };
    writeln!(out, "{word:<9} {kind} {name}")?;
    match action {
        Action::Update { from } => {
            writeln!(out, "            from version {from}")?;
            change.kept.iter().try_for_each(|line| writeln!(out, "            {line}"))
        }
        Action::Unsupported { since } => {
            writeln!(out, "            Astarte has it from version {since} on")
        }
        Action::Replace { differences } | Action::Conflict { differences } => {
            differences.iter().try_for_each(|line| writeln!(out, "            {line}"))
        }
        _ => Ok(()),
    }
}
